"""What the records of a COCO annotation file must be like: one set of rules, for training as for evaluation.

A file that passes gives the same cells to everything that reads it. What COCO leaves open is filled in: polygons and
RLEs with listed run lengths are masks, too; ``area`` and ``bbox`` are taken from the mask if they are missing, and
``iscrowd`` is then 0. Whatever would be read differently by different programs, or not at all, is a problem.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.errors import quote
from mmcell.files.text_files import is_encodable, is_finite_number, is_integer
from mmcell.masks.coco_masks import MAX_COORDINATE_PX, to_compressed_rles
from mmcell.masks.rle import areas_px, bboxes_xywh

SECTIONS = ('images', 'categories', 'annotations')
# Ids become int64 in arrays. COCO evaluation takes annotation id 0 for "unmatched", and models category 0 for nothing.
MAX_ID = 2 ** 63 - 1
SMALLEST_IDS = {'images': 0, 'categories': 1, 'annotations': 1}
# An image file with two records would be trained and measured twice, each time with a part of its cells.
UNIQUE_NAMES = {'images': 'file_name', 'categories': 'name'}
# pycocotools counts the pixels of an image with 32 bits.
MAX_IMAGE_PX = 2 ** 31 - 1
MAX_LISTED_KINDS = 12
BAD_AREA = 'area is not a number of px above 0'
BAD_BBOX = 'bbox is not x, y, width, height in px'
BBOX_IS_XYXY = 'bbox is x1, y1, x2, y2 in place of x, y, width, height in px'
BBOX_IS_ELSEWHERE = 'bbox lies elsewhere than the mask, or has less than half in common with the box of the mask'
# By how many px a box may differ from that of its mask because a program counts pixels otherwise.
_COUNTING_PX = 2
# Problems that a value taken from the mask solves.
KEY_TO_TAKE_FROM_MASK = {BAD_AREA: 'area', BAD_BBOX: 'bbox', BBOX_IS_XYXY: 'bbox', BBOX_IS_ELSEWHERE: 'bbox'}


@dataclass(frozen=True)
class Problem:
    """Why a record cannot be used.

    Attributes:
        section: The list that contains the record: 'images', 'categories' or 'annotations'.
        index: The index of the record in this list.
        kind: What is wrong, in words that are the same for all records with this problem.
        found: What was found, shortened.
    """

    section: str
    index: int
    kind: str
    found: str


def check_records(document: dict, crowds_allowed: bool) -> tuple[list[Problem], dict[int, dict]]:
    """Checks every record of an annotation file.

    Args:
        document: The content of the file. Its images, categories and annotations are lists of anything.
        crowds_allowed: Whether regions that are not annotated cell by cell (``iscrowd`` 1, or ``ignore``) are no
            problem.

    Returns:
        All problems, and the annotations that have none by their index in the file. They have masks as compressed RLEs
        with a pixel or more, ``area`` in px, ``bbox`` (xywh in px, with sides of 1 px or more, over the mask), and
        ``iscrowd`` 0 or 1.
    """
    problems = [*_problems_of(document, 'images', _problems_of_image),
                *_problems_of(document, 'categories', _problems_of_category)]
    bad_images = {problem.index for problem in problems if problem.section == 'images'}
    usable_images = {image['id']: image for index, image in enumerate(document['images']) if index not in bad_images}
    image_ids, category_ids = (set(_ids_of(document[section])) for section in ('images', 'categories'))
    problems += _problems_of(document, 'annotations', lambda annotation: _problems_of_annotation(
        annotation, image_ids, category_ids, crowds_allowed))
    bad = {problem.index for problem in problems if problem.section == 'annotations'}
    # The masks in an image of unknown size cannot be checked; the image is a problem already.
    problems_of_masks, complete = _complete(
        {index: annotation for index, annotation in enumerate(document['annotations'])
         if index not in bad and annotation['image_id'] in usable_images}, usable_images)
    return problems + problems_of_masks, complete


def _ids_of(records: list) -> list[int]:
    return [record['id'] for record in records if isinstance(record, dict) and is_integer(record.get('id'))]


def _problems_of(document: dict, section: str,
                 find: Callable[[dict], Iterator[tuple[str, object]]]) -> Iterator[Problem]:
    records, counts = document[section], Counter(_ids_of(document[section]))
    smallest = SMALLEST_IDS[section]
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            yield Problem(section, index, 'it is not an object with keys', quote(record))
            continue
        record_id = record.get('id')
        if not is_integer(record_id) or not smallest <= record_id <= MAX_ID:
            yield Problem(section, index, f'id is not a whole number from {smallest} to 2^63 - 1', quote(record_id))
        elif counts[record_id] > 1:
            yield Problem(section, index, 'the id is not unique', f'{counts[record_id]} have it')
        for kind, found in find(record):
            yield Problem(section, index, kind, quote(found))
    key = UNIQUE_NAMES.get(section)
    names = [record.get(key) if isinstance(record, dict) else None for record in records]
    counts_of_names = Counter(name for name in names if isinstance(name, str))
    for index, name in enumerate(names):
        if isinstance(name, str) and counts_of_names[name] > 1:
            yield Problem(section, index, f'the {key} is not unique', quote(name))


def _problems_of_image(image: dict) -> Iterator[tuple[str, object]]:
    name = image.get('file_name')
    if not isinstance(name, str) or not name or '\0' in name or not is_encodable(name):
        yield 'file_name is not a name in text that UTF-8 can hold', name
    height, width = image.get('height'), image.get('width')
    if not is_integer(height) or not is_integer(width) or min(height, width) < 1:
        yield 'height and width are not whole numbers above 0', [height, width]
    elif height * width > MAX_IMAGE_PX:
        yield 'height x width is more than 2^31 - 1 px', [height, width]


def _problems_of_category(category: dict) -> Iterator[tuple[str, object]]:
    name = category.get('name')
    if not isinstance(name, str) or not name.strip() or not is_encodable(name):
        yield 'name is not a text that UTF-8 can hold', name


def _problems_of_annotation(annotation: dict, image_ids: set[int], category_ids: set[int],
                            crowds_allowed: bool) -> Iterator[tuple[str, object]]:
    for key, defined_ids in (('image_id', image_ids), ('category_id', category_ids)):
        if not is_integer(annotation.get(key)) or annotation[key] not in defined_ids:
            yield f'{key} is not the id of one of the {"images" if key == "image_id" else "categories"}', \
                annotation.get(key)
    for key in ('iscrowd', 'ignore'):
        if annotation.get(key) not in (None, 0, 1):
            yield f'{key} is neither 0 nor 1', annotation[key]
        elif annotation.get(key) and not crowds_allowed:
            yield f'it is a region that is not annotated cell by cell ({key}), which is not measured', annotation[key]
    area_px = annotation.get('area')
    if area_px is not None and not (is_finite_number(area_px) and area_px > 0):
        yield BAD_AREA, area_px
    bbox = annotation.get('bbox')
    if bbox is not None and not _is_bbox(bbox):
        yield BAD_BBOX, bbox


def _is_bbox(value: object) -> bool:
    return (isinstance(value, list) and len(value) == 4 and all(map(is_finite_number, value)) and min(value[2:]) >= 0
            and max(map(abs, value)) <= MAX_COORDINATE_PX)


def _complete(annotations: dict[int, dict], images: dict[int, dict]) -> tuple[list[Problem], dict[int, dict]]:
    """Checks the masks of annotations that have no other problem, and fills in what is missing.

    Returns the problems; and the annotations without problem, complete, by their index in the file.
    """
    sizes = [(images[annotation['image_id']]['height'], images[annotation['image_id']]['width'])
             for annotation in annotations.values()]
    rles, mask_problems = to_compressed_rles(
        [annotation.get('segmentation') for annotation in annotations.values()], sizes)
    indices, complete = list(annotations), {}
    problems = [Problem('annotations', indices[place], *problem) for place, problem in mask_problems.items()]
    usable = [place for place, rle in enumerate(rles) if rle is not None]
    rles, sizes = [rles[place] for place in usable], np.array([sizes[place] for place in usable]).reshape(-1, 2)
    all_areas_px, mask_boxes = areas_px(rles).tolist(), bboxes_xywh(rles)
    boxes = [box if (box := annotations[indices[place]].get('bbox')) is not None and min(box[2:]) >= 1
             else mask_box for place, mask_box in zip(usable, mask_boxes.tolist(), strict=True)]
    box_problems = _find_wrong_boxes(np.array(boxes, float).reshape(-1, 4), mask_boxes, sizes).tolist()
    for place, rle, area_px, box, mask_box, box_problem in zip(
            usable, rles, all_areas_px, boxes, mask_boxes.tolist(), box_problems, strict=True):
        index, annotation = indices[place], annotations[indices[place]]
        if not area_px:
            problems.append(Problem('annotations', index, 'the mask has no pixel in its image',
                                    quote(annotation['segmentation'])))
        elif box_problem:
            problems.append(Problem('annotations', index, box_problem, f'{quote(box)} for a mask in {mask_box}'))
        else:
            is_crowd, area = annotation.get('iscrowd') or annotation.get('ignore'), annotation.get('area')
            complete[index] = {
                **{key: value for key, value in annotation.items() if key != 'ignore'}, 'segmentation': rle,
                'area': area_px if area is None else area, 'bbox': box, 'iscrowd': int(bool(is_crowd))}
    return problems, complete


def _find_wrong_boxes(boxes: np.ndarray, mask_boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns what is wrong with boxes, (N,) str, empty for those that belong to their mask.

    A box is elsewhere if it has no pixel in common with the box of its mask, or the IoU of the two is below one half
    and they differ by more than some programs' way of counting pixels: from 1, or without the last one.

    Args:
        boxes: (N, 4) The boxes in the file, in px. What lies outside of the image is not compared.
        mask_boxes: (N, 4) The boxes xywh of the masks, in px.
        sizes: (N, 2) Height and width of the images in px.
    """
    starts, ends = (np.clip(corners, 0, sizes[:, ::-1]) for corners in (boxes[:, :2], boxes[:, :2] + boxes[:, 2:]))
    mask_starts, mask_ends = mask_boxes[:, :2], mask_boxes[:, :2] + mask_boxes[:, 2:]
    common = (np.minimum(ends, mask_ends) - np.maximum(starts, mask_starts)).clip(min=0).prod(axis=1)
    union = (ends - starts).prod(axis=1) + mask_boxes[:, 2:].prod(axis=1) - common
    mask_corners = np.concatenate([mask_starts, mask_ends], axis=1)
    differs, as_xyxy, as_xywh = (
        np.abs(difference).max(axis=1, initial=0) > _COUNTING_PX
        for difference in (np.concatenate([starts, ends], axis=1) - mask_corners, boxes - mask_corners,
                           boxes - mask_boxes))
    return np.select([~as_xyxy & as_xywh, (common == 0) | ((common < union / 2) & differs)],
                     [BBOX_IS_XYXY, BBOX_IS_ELSEWHERE], '')


def describe_problems(problems: Sequence[Problem], document: dict) -> list[str]:
    """Returns one line per kind of problem, with the number of records that have it and the first of them."""
    by_kind: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault((problem.section, problem.kind), []).append(problem)
    lines = [f'{len(group)} of {len(document[section])} {section}: {kind}; first {_place_of(group[0], document)}: '
             f'{group[0].found}' for (section, kind), group in by_kind.items()]
    n_more = len(lines) - MAX_LISTED_KINDS
    return lines[:MAX_LISTED_KINDS] + ([f'… and {n_more} more kinds of problems'] if n_more > 0 else [])


def _place_of(problem: Problem, document: dict) -> str:
    """Names a record, for example "annotation 12 of image 'train/a/image.tif'"."""
    record = document[problem.section][problem.index]
    record = record if isinstance(record, dict) else {}
    name = {'images': 'image', 'categories': 'category', 'annotations': 'annotation'}[problem.section]
    name += f" {quote(record['id'])}" if 'id' in record else f' no. {problem.index + 1} in the list'
    if problem.section == 'images' and 'file_name' in record:
        return f"{name} ({record['file_name']!r:.200})"
    if problem.section == 'annotations' and 'image_id' in record:
        for image in document['images']:
            if isinstance(image, dict) and image.get('id') == record['image_id'] and 'file_name' in image:
                return f"{name} of image {image['file_name']!r:.200}"
    return name
