"""COCO annotation files: building them from raw images, writing them completely or not at all, and checking them."""

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.annotations.coco_checks import SECTIONS, Problem, check_records, describe_problems
from mmcell.annotations.file_sets import find_file_of_other_set, info_of
from mmcell.errors import MmcellError, quote
from mmcell.files.early_checks import refuse_missing_annotations
from mmcell.files.text_files import read_json
from mmcell.files.whole_files import written_whole
from mmcell.images.image_file import CHANNEL_ORDERS, open_image
from mmcell.images.limits import ImageReadError

UNREADABLE = 'the image file cannot be read'
# False for a path that is too long for the system, for which ``Path.is_file`` raises an error.
is_file = os.path.isfile


def categories(names: list[str]) -> list[dict]:
    """Returns COCO categories with these names, numbered from 1 in the same order."""
    return [{'id': number, 'name': name} for number, name in enumerate(names, start=1)]


def to_records(images: Iterable[AnnotatedImage], class_names: Sequence[str]) -> tuple[list[dict], list[dict]]:
    """Returns the COCO image records and annotation records of images.

    Images without an id of their own are numbered from 1, and so are the annotations, in the order of the images, of
    the classes, and of the cells in them.

    Args:
        images: The images, of which either all or none has an ``image_id``.
        class_names: The names of the classes of category 1, 2 …; all classes of the images are among them.
    """
    number_of_class = {name: number for number, name in enumerate(class_names, start=1)}
    image_records, annotations = [], []
    for number, image in enumerate(images, start=1):
        image_id = number if image.image_id is None else image.image_id
        scale = {} if image.mpp is None else {'mpp': image.mpp}
        image_records.append({'id': image_id, 'file_name': image.file_name, 'height': image.height,
                              'width': image.width, **scale})
        for is_crowd, by_class in enumerate((image.cells, image.crowds)):
            for name in sorted(by_class, key=number_of_class.__getitem__):
                instances = by_class[name]
                for rle, area_px, bbox_xywh in zip(
                        instances.rles, instances.areas_px.tolist(), instances.bboxes_xywh.tolist(), strict=True):
                    annotations.append({
                        'id': len(annotations) + 1, 'image_id': image_id, 'category_id': number_of_class[name],
                        'segmentation': rle, 'area': area_px, 'bbox': bbox_xywh, 'iscrowd': is_crowd})
    return image_records, annotations


def subset(image_records: list[dict], annotations: list[dict], image_ids: set[int]) -> tuple[list[dict], list[dict]]:
    """Returns the image and annotation records of some images only.

    Ids are kept, so that an image has the same id in every file.
    """
    return ([record for record in image_records if record['id'] in image_ids],
            [annotation for annotation in annotations if annotation['image_id'] in image_ids])


def write_documents(documents: dict[Path, dict]) -> None:
    """Writes several JSON files. If one of them cannot be written, all older files of the same names stay as they were.

    Documents that belong together are marked by :func:`mmcell.annotations.file_sets.as_file_set` before: if the process
    is killed between two renames, :func:`read_annotations` then refuses the new files beside the old ones.

    Args:
        documents: The content of each file by its path.

    Raises:
        AnnotationError: A text cannot be written as UTF-8, because it comes from a file name whose bytes are not UTF-8.
        OSError: A file cannot be written.
    """
    with written_whole(documents) as temporary_paths:
        for path, temporary, document in zip(documents, temporary_paths, documents.values(), strict=True):
            try:
                with open(temporary, 'w', encoding='utf-8') as file:
                    # json.dump, which writes piece by piece, takes four times as long.
                    file.write(json.dumps(document, separators=(',', ':'), ensure_ascii=False))
            except UnicodeEncodeError as error:
                begin = error.object.rfind('"', 0, error.start) + 1
                text = error.object[begin:error.object.find('"', error.start)]
                raise AnnotationError(f'{path}: cannot be written: the text {text!r:.200} is not Unicode. If it is the '
                                      'name of a file or folder, rename it') from error


class AnnotationError(MmcellError):
    """An annotation file contradicts itself, its images or the config; the message says what is wrong."""


def read_annotations(path: str | Path, *, masks_as_rle: bool = True, crowds_allowed: bool = True) -> dict:
    """Reads a COCO annotation file, checks all of it, and returns it in one form.

    Training, testing, evaluation, submissions and overlays read annotation files only here, so that all of them see the
    same cells, or the same message. What COCO leaves open is filled in: see
    :func:`mmcell.annotations.coco_checks.check_records`. The time is about .05 ms per RLE and .1 ms per polygon.

    Args:
        path: The file: JSON in UTF-8, UTF-16 or UTF-32.
        masks_as_rle: Whether every mask is returned as a compressed RLE. False returns polygons as the file has them.
        crowds_allowed: Whether regions that are not annotated cell by cell (``iscrowd`` 1, or ``ignore``) are accepted.
            They are returned with ``iscrowd`` 1.

    Raises:
        FileNotFoundError: The file does not exist.
        AnnotationError: The file is not COCO JSON, or some of its records cannot be used. The message has one line per
            kind of problem, with the number of records and the first of them.
    """
    return check_document(read_document(path), Path(path), masks_as_rle=masks_as_rle, crowds_allowed=crowds_allowed)


def check_document(document: dict, source: str | Path, *, masks_as_rle: bool = True,
                   crowds_allowed: bool = True) -> dict:
    """Checks the content of an annotation file, and returns it in one form, as :func:`read_annotations` does.

    Raises:
        AnnotationError: Some of its records cannot be used.
    """
    _check_form(document, source)
    problems, complete = check_records(document, crowds_allowed)
    if problems:
        hint = [_how_to_repair(source, problems, crowds_allowed)] if isinstance(source, Path) else []
        raise AnnotationError('\n'.join([f'{source}: cannot be used', *describe_problems(problems, document), *hint]))
    annotations = list(complete.values())
    if not masks_as_rle:
        annotations = [annotation if isinstance(original['segmentation'], dict)
                       else {**annotation, 'segmentation': original['segmentation']}
                       for annotation, original in zip(annotations, document['annotations'], strict=True)]
    return {**document, 'annotations': annotations}


def _how_to_repair(path: str | Path, problems: Sequence[Problem], crowds_allowed: bool) -> str:
    new_path = Path(path).with_name(f'{Path(path).stem}_repaired.json')
    flags = '' if crowds_allowed else ' --drop-crowds'
    if any(problem.section == 'images' for problem in problems):
        flags += ' --images FOLDER_OF_THE_IMAGES'
    return ('Correct or remove these records, or let a command write a copy without them, in which ids are renumbered '
            'and other values taken from masks and images where that needs no guess: python data_prep/repair_coco.py '
            f'{shlex.quote(str(path))} --out {shlex.quote(str(new_path))}{flags}')


def _check_form(document: object, source: str | Path) -> None:
    """Raises an AnnotationError if the content of a file is not that of an annotation file, whatever its records are.

    A list of annotations that is missing is added.
    """
    if not isinstance(document, dict):
        raise AnnotationError(f'{source}: is a JSON {type(document).__name__}, but an annotation file is an object '
                              'with images, categories and annotations')
    document.setdefault('annotations', [])
    for key in SECTIONS:
        if not isinstance(document.get(key), list):
            raise AnnotationError(f'{source}: {key} must be a list, '
                                  + (f'got {quote(document[key])}' if key in document else 'but is missing'))
    if not document['categories']:
        raise AnnotationError(f'{source}: has no category; at least one class is needed')
    root, order = info_of(document).get('data_root', ''), info_of(document).get('channel_order')
    if not isinstance(root, str):
        raise AnnotationError(f'{source}: info.data_root must be the path of a folder, got {quote(root)}')
    if order not in (None, *CHANNEL_ORDERS):
        raise AnnotationError(f'{source}: info.channel_order must be one of {CHANNEL_ORDERS}, got {str(order)[:60]!r}')


def read_document(path: str | Path) -> dict:
    """Reads a COCO annotation file whose records are not checked.

    Raises:
        FileNotFoundError: The file does not exist.
        AnnotationError: The file is not JSON, is not an object with lists of images and categories, has an ``info``
            that mmcell cannot use, or lies beside a file of another conversion.
    """
    path = Path(path)
    refuse_missing_annotations(path)
    document = read_json(path, AnnotationError)
    _check_form(document, path)
    other = find_file_of_other_set(path, document)
    if other is not None:
        raise AnnotationError(
            f'{path}: {other} beside it is not from the same conversion, which was interrupted or of which a file was '
            'replaced: an image may be in both files. Run data_prep/to_coco.py again. To combine the two '
            'files nevertheless, rename one, and name it in the config (ann_file)')
    return document


def check_image_files(document: dict, paths: Sequence[Path], ann_file: str | Path) -> None:
    """Compares the height and width of every image in an annotation file with the image file.

    Only the headers of the image files are read: about 1 ms per image.

    Args:
        document: The content of an annotation file.
        paths: The image file of each image.
        ann_file: The annotation file, for the message.

    Raises:
        FileNotFoundError: An image file does not exist.
        AnnotationError: An image file cannot be read, or has another size.
    """
    missing = [path for path in paths if not is_file(path)]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} images of {ann_file} do not exist, first {str(missing[0])[:300]}: if the '
            'images were moved, convert the data again or set data_prefix.img to their folder')
    problems = [Problem('images', index, *problem) for index, (image, path) in enumerate(
        zip(document['images'], paths, strict=True)) if (problem := find_size_problem(image, path)) is not None]
    if problems:
        lines = describe_problems(problems, document)
        message = f'{ann_file}: ' + (lines[0] if len(lines) == 1 else 'does not fit its images\n' + '\n'.join(lines))
        if any(problem.kind != UNREADABLE for problem in problems):
            message += ('. Use the image files that were annotated: masks cannot be moved to an image of another size '
                        'or orientation')
        raise AnnotationError(message)


def find_size_problem(image: dict, path: Path) -> tuple[str, str] | None:
    """Returns what is wrong with the size of an image, kind and found value; None if it is that of its file."""
    try:
        with open_image(path) as opened:
            height, width = opened.height, opened.width
    except (ImageReadError, FileNotFoundError) as error:
        return UNREADABLE, str(error)
    if (height, width) == (image['height'], image['width']):
        return None
    kind = 'the image file has another size'
    if (width, height) == (image['height'], image['width']):
        kind = 'the image file has height and width exchanged (perhaps it was turned)'
    return kind, f"{image['width']} x {image['height']} px here, {width} x {height} px in {path} (width x height)"
