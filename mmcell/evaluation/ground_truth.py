"""True cells, read for evaluation."""

from collections import Counter
from pathlib import Path

import pycocotools.mask

from mmcell.annotations.coco_json import AnnotationError, read_annotations
from mmcell.annotations.raw_layout import TEST_FOLDER
from mmcell.evaluation.coco_masks import to_compressed_rles
from mmcell.masks.rle import areas_px
from mmcell.predictions.checks import is_finite_number


def read_ground_truth(path: str | Path) -> dict:
    """Reads a COCO annotation file to measure against: every mask is a compressed RLE that decodes.

    Polygons and listed run lengths are converted; where ``area`` (px) or ``bbox`` (xywh) is missing, it is the mask's.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: what :func:`read_annotations` refuses; no image; no true cell; an image without height and
            width; a crowd region; an area or a bbox that is no number, or an area below 0; a mask that does not decode,
            is of another size than its image, or has no pixel.
    """
    document = read_annotations(path)
    if not document['images']:
        raise AnnotationError(f'{path}: holds no image')
    if not document['annotations']:
        raise AnnotationError(f"{path}: no true cell to measure against in its {len(document['images'])} images. "
                              'Predictions of test images whose cells are not known can be submitted: tools/submit.py')
    sizes = {image['id']: _size_of(image, path) for image in document['images']}
    for annotation in document['annotations']:
        _check_annotation(annotation, path)
    rles, problems = to_compressed_rles([annotation.get('segmentation') for annotation in document['annotations']],
                                        [sizes[annotation['image_id']] for annotation in document['annotations']])
    for index, problem in problems.items():
        annotation = document['annotations'][index]
        raise AnnotationError(f"{path}: annotation {annotation['id']} of image {annotation['image_id']}, one of "
                              f'{len(problems)} with a bad mask: {problem}')
    all_areas_px = areas_px(rles)
    empty = [annotation['id'] for annotation, area_px in zip(document['annotations'], all_areas_px, strict=True)
             if not area_px]
    if empty:
        raise AnnotationError(f'{path}: {len(empty)} true cells have no pixel, the first is annotation {empty[0]}; '
                              'no prediction could find them: leave them out')
    annotations = [{'area': int(area_px), 'bbox': bbox_xywh.tolist(), **annotation, 'segmentation': rle}
                   for annotation, rle, area_px, bbox_xywh in zip(
                       document['annotations'], rles, all_areas_px, pycocotools.mask.toBbox(rles),
                       strict=True)]
    return {**document, 'annotations': annotations}


def _check_annotation(annotation: dict, path: str | Path) -> None:
    where = f"{path}: annotation {annotation['id']}"
    if annotation.get('iscrowd'):
        raise AnnotationError(f'{where} is a crowd region (iscrowd 1): only single cells can be measured against')
    area_px = annotation.get('area', 0)
    if not is_finite_number(area_px) or area_px < 0:
        raise AnnotationError(f'{where} has area {area_px!r}, a number of pixels expected')
    bbox = annotation.get('bbox', [0, 0, 0, 0])
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite_number, bbox)):
        raise AnnotationError(f'{where} has bbox {bbox!r}, [x, y, width, height] expected')


def _size_of(image: dict, path: str | Path) -> tuple[int, int]:
    """(height, width) in px."""
    size = image.get('height'), image.get('width')
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise AnnotationError(f"{path}: image {image['id']} has height and width {size}, whole numbers expected")
    return size


def count_by_class(document: dict, records: list[dict]) -> dict[str, int]:
    """Class name to number of annotations or detections, in the order of the categories of a COCO document."""
    counts = Counter(record['category_id'] for record in records)
    return {category['name']: counts[category['id']] for category in document['categories']}


def is_test_data(path: str | Path, document: dict) -> bool:
    """Whether an annotation file says that it is about test data.

    That is: its own name has the word "test", as ``test.json`` has, or an image lies in a folder ``test`` or
    ``test_release``. A file that does not say it is not found out.
    """
    words = ''.join(letter if letter.isalpha() else ' ' for letter in Path(path).stem.lower()).split()
    return 'test' in words or any(
        {'test', TEST_FOLDER} & set(Path(str(image.get('file_name', '')).lower()).parts[:-1])
        for image in document['images'])
