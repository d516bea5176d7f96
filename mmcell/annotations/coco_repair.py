"""Repairs COCO annotation files of other programs, as far as no guess is needed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmcell.annotations.coco_checks import (
    KEY_TO_TAKE_FROM_MASK,
    MAX_ID,
    SECTIONS,
    SMALLEST_IDS,
    Problem,
    check_records,
    describe_problems,
)
from mmcell.annotations.coco_json import AnnotationError, find_size_problem, is_file
from mmcell.annotations.polygon_repair import cut_polygons, drop_small, flatten, to_numbers
from mmcell.files.text_files import is_integer
from mmcell.images.image_file import open_image
from mmcell.images.limits import ImageReadError
from mmcell.masks.coco_masks import MAX_COORDINATE_PX, find_polygon_problem
from mmcell.masks.polygons import rasterize_flat_polygons


def repair(document: dict, image_folder: Path | None, drop_crowds: bool,
           polygons_to_rles: bool = False) -> tuple[dict, list[str], list[str]]:
    """Repairs an annotation file.

    Args:
        document: Its content, as :func:`mmcell.annotations.coco_json.read_document` returns it. It is not changed.
        image_folder: The folder that ``file_name`` entries are relative to. None: sizes are not compared with files.
        drop_crowds: Whether regions that are not annotated cell by cell are left out.
        polygons_to_rles: Whether polygons become RLEs by the rule of :mod:`mmcell.masks.polygons`. Otherwise they stay
            polygons, and those that cover no pixel by the rule of pycocotools are left out.

    Returns:
        The new content, which passes :func:`mmcell.annotations.coco_json.read_annotations`; one line per kind of
        repair, with its number; and one line per kind of records that were left out, with their number.

    Raises:
        AnnotationError: A class cannot be used, an id is used twice, or no image with its annotations would be left.
    """
    document = {**document, **{section: [dict(record) if isinstance(record, dict) else record
                                         for record in document[section]] for section in SECTIONS}}
    repairs: Counter[str] = Counter()
    _drop_supercategory(document, repairs)
    for section, reference in (('images', 'image_id'), ('categories', 'category_id')):
        _repair_ids(document, section, reference, repairs)
    _number_annotations(document['annotations'], repairs)
    _repair_images(document, image_folder, repairs)
    images = {image['id']: image for image in _dicts(document['images'])}
    for annotation in _dicts(document['annotations']):
        image_id = annotation.get('image_id')
        _repair_annotation(annotation, images.get(image_id, {}) if is_integer(image_id) else {}, repairs)
    if polygons_to_rles:
        _rasterize_polygons(document, images, repairs)
    _remove_what_masks_give(document)
    document, left_out = _leave_out(document, image_folder, drop_crowds, repairs)
    return document, [f'{count} {text}' for text, count in repairs.items()], left_out


def _dicts(records: Sequence) -> list[dict]:
    return [record for record in records if isinstance(record, dict)]


def _drop_supercategory(document: dict, repairs: Counter[str]) -> None:
    """Removes the category 0 of Roboflow's files: the super-category of all others, without a cell."""
    categories = _dicts(document['categories'])
    used = {_id_key(annotation.get('category_id')) for annotation in _dicts(document['annotations'])}
    for category in categories:
        others = [other for other in categories if other is not category]
        if _id_key(category.get('id')) == 0 and 0 not in used and others and all(
                other.get('supercategory') == category.get('name') for other in others):
            document['categories'] = [record for record in document['categories'] if record is not category]
            repairs['categories: the super-category of all others, without a cell, is left out'] += 1


def _id_key(value: object) -> int | str | None:
    """Returns an id in a form in which 7, 7.0 and '7' are equal; None if it is no id."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2 ** 53:
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value[:20])) == value:
        return int(value)
    return value if is_integer(value) or isinstance(value, str) else None


def _repair_ids(document: dict, section: str, reference: str, repairs: Counter[str]) -> None:
    """Makes the ids of a section whole numbers, and follows them in the annotations.

    Ids that are whole numbers, however they are written, are kept. If there is any other, records are numbered from 1.
    """
    records = _dicts(document[section])
    keys = [_id_key(record.get('id')) for record in records]
    repeated = [key for key, count in Counter(keys).items() if count > 1 and key is not None]
    if repeated:
        raise AnnotationError(f'{len(repeated)} ids of {section} are used more than once, the first is '
                              f'{repeated[0]!r:.60}: it is not known which one an annotation means')
    is_usable = all(is_integer(key) and SMALLEST_IDS[section] <= key <= MAX_ID for key in keys)
    new_ids = keys if is_usable else range(1, len(records) + 1)
    n_changed = 0
    for record, new_id in zip(records, new_ids, strict=True):
        n_changed += not is_integer(record.get('id')) or record['id'] != new_id
        record['id'] = new_id
    if n_changed:
        how = 'written as a whole number' if is_usable else 'numbered from 1 in the order of the file'
        repairs[f'{section}: id {how}'] += n_changed
    by_key = {key: new_id for key, new_id in zip(keys, new_ids, strict=True) if key is not None}
    for annotation in _dicts(document['annotations']):
        new_id = by_key.get(_id_key(annotation.get(reference)))
        if new_id is not None and (not is_integer(annotation[reference]) or annotation[reference] != new_id):
            annotation[reference] = new_id
            repairs[f'annotations: {reference} changed with the ids of {section}, or written as a whole number'] += 1


def _number_annotations(annotations: list, repairs: Counter[str]) -> None:
    """Numbers the annotations from 1, if one of their ids cannot be used. Nothing refers to these ids."""
    ids = [annotation.get('id') for annotation in _dicts(annotations)]
    if all(is_integer(value) and 1 <= value <= MAX_ID for value in ids) and len(set(ids)) == len(ids):
        return
    for number, annotation in enumerate(_dicts(annotations), start=1):
        annotation['id'] = number
    repairs['annotations: id numbered from 1 in the order of the file'] += len(ids)


def _repair_images(document: dict, folder: Path | None, repairs: Counter[str]) -> None:
    masks: dict[int, list] = {}
    for annotation in _dicts(document['annotations']):
        if is_integer(annotation.get('image_id')):
            masks.setdefault(annotation['image_id'], []).append(annotation.get('segmentation'))
    for image in _dicts(document['images']):
        for key in ('height', 'width'):
            side = _id_key(image.get(key))
            if is_integer(side) and not is_integer(image[key]):
                image[key] = side
                repairs[f'images: {key} written as a whole number'] += 1
        name = image.get('file_name')
        if folder is None or not isinstance(name, str) or '\0' in name:
            continue
        if '\\' in name and not is_file(folder / name) and is_file(folder / name.replace('\\', '/')):
            image['file_name'] = name.replace('\\', '/')
            repairs['images: backslashes in file_name replaced'] += 1
        _take_size_from_file(image, folder / image['file_name'], masks.get(image['id'], []), repairs)


def _take_size_from_file(image: dict, path: Path, masks: list, repairs: Counter[str]) -> None:
    """Takes height and width from the image file, if they are missing, or if all masks have the size of the file."""
    try:
        with open_image(path) as opened:
            size = [opened.height, opened.width]
    except (ImageReadError, OSError):
        return
    is_missing = not (is_integer(image.get('height')) and is_integer(image.get('width')))
    masks_agree = bool(masks) and all(isinstance(mask, dict) and mask.get('size') == size for mask in masks)
    if [image.get('height'), image.get('width')] != size and (is_missing or masks_agree):
        image['height'], image['width'] = size
        repairs['images: height and width taken from the image file'] += 1


def _repair_annotation(annotation: dict, image: dict, repairs: Counter[str]) -> None:
    for key in ('iscrowd', 'ignore'):
        if annotation.get(key) in ('0', '1'):
            annotation[key] = int(annotation[key])
            repairs[f'annotations: {key} written as a whole number'] += 1
    mask = annotation.get('segmentation')
    if isinstance(mask, list):
        for text, change in (('lists of points written as x1, y1, x2, y2, …', flatten),
                             ('polygons with numbers as text written as numbers', to_numbers),
                             ('polygons of fewer than three points left out', drop_small)):
            changed = change(mask)
            if changed is not mask:
                repairs[f'annotations: {text}'] += 1
            mask = changed
        cut = cut_polygons(mask, image)
        if cut is not mask:
            repairs['annotations: polygons that reach far beyond the image cut at its borders'] += 1
            annotation.update(area=None, bbox=None)
        mask = cut
    elif isinstance(mask, dict) and isinstance(mask.get('counts'), list) and any(
            isinstance(run, float) for run in mask['counts']):
        runs = [int(run) if isinstance(run, float) and run.is_integer() else run for run in mask['counts']]
        mask = {**mask, 'counts': runs}
        repairs['annotations: run lengths of RLEs written as whole numbers'] += 1
    if mask is not None:
        annotation['segmentation'] = mask


def _rasterize_polygons(document: dict, images: dict[int, dict], repairs: Counter[str]) -> None:
    """Writes the polygons of annotations as RLEs; those that are no polygons stay as they are for the checks."""
    by_image: dict[int, list[dict]] = {}
    for annotation in _dicts(document['annotations']):
        image_id, polygons = annotation.get('image_id'), annotation.get('segmentation')
        if is_integer(image_id) and image_id in images and isinstance(polygons, list) and not find_polygon_problem(
                polygons):
            by_image.setdefault(image_id, []).append(annotation)
    for image_id, annotations in by_image.items():
        size = [images[image_id].get(key) for key in ('height', 'width')]
        if not all(is_integer(side) and 0 < side <= MAX_COORDINATE_PX for side in size):
            continue
        polygons = [[polygon for polygon in annotation['segmentation'] if len(polygon) >= 6]
                    for annotation in annotations]
        found = rasterize_flat_polygons(polygons, *size)
        for annotation, rle, is_below_pixel in zip(annotations, found.rles, found.is_below_pixel, strict=True):
            if rle is not None:
                annotation['segmentation'] = rle
                repairs['annotations: polygons written as RLE, by the centres of the pixels'] += 1
            if is_below_pixel:
                repairs['annotations: polygons that contain no centre of a pixel written as one pixel'] += 1


def _remove_what_masks_give(document: dict) -> None:
    """Removes areas and boxes that are wrong, so that the checks take them from the mask."""
    # A box is compared with its mask only if nothing else is wrong, therefore there is a second round.
    for _ in range(2):
        for problem in check_records(document, crowds_allowed=True)[0]:
            if problem.kind in KEY_TO_TAKE_FROM_MASK:
                del document['annotations'][problem.index][KEY_TO_TAKE_FROM_MASK[problem.kind]]


def _leave_out(document: dict, folder: Path | None, drop_crowds: bool,
               repairs: Counter[str]) -> tuple[dict, list[str]]:
    """Returns the document without the records that still have a problem, and one line per kind of them."""
    problems, complete = check_records(document, crowds_allowed=not drop_crowds)
    in_categories = [problem for problem in problems if problem.section == 'categories']
    if in_categories:
        raise AnnotationError('cannot be repaired without a guess\n'
                              + '\n'.join(describe_problems(in_categories, document)))
    bad_images = {problem.index for problem in problems if problem.section == 'images'}
    for index, image in enumerate(document['images']):
        path = None if folder is None or index in bad_images else folder / image['file_name']
        if path is not None and is_file(path) and (found := find_size_problem(image, path)) is not None:
            problems.append(Problem('images', index, *found))
            bad_images.add(index)
    images = [image for index, image in enumerate(document['images']) if index not in bad_images]
    kept_ids = {image['id'] for image in images}
    annotations = {index: annotation for index, annotation in complete.items() if annotation['image_id'] in kept_ids}
    if not images or (document['annotations'] and not annotations):
        raise AnnotationError('no image with its annotations would be left\n'
                              + '\n'.join(describe_problems(problems, document)))
    left_out = describe_problems(problems, document)
    n_without_image = len(document['annotations']) - len(annotations) - len(
        {problem.index for problem in problems if problem.section == 'annotations'})
    if n_without_image:
        left_out.append(f'{n_without_image} annotations: their image is left out')
    for index, annotation in annotations.items():
        _count_additions(annotation, document['annotations'][index], repairs)
    return {**document, 'images': images, 'annotations': list(annotations.values())}, left_out


def _count_additions(annotation: dict, original: dict, repairs: Counter[str]) -> None:
    """Counts what the checks have filled in, and puts polygons back, which are the smaller and finer form of a mask."""
    for key, source in (('area', 'taken from the mask'), ('bbox', 'taken from the mask'), ('iscrowd', 'added')):
        if annotation[key] != original.get(key):
            repairs[f'annotations: {key} {source}'] += 1
    mask = original['segmentation']
    if isinstance(mask, list):
        annotation['segmentation'] = mask
    elif not isinstance(mask['counts'], str):
        repairs['annotations: run lengths of RLEs compressed'] += 1
