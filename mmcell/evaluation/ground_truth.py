"""Reads and checks the true cells that predictions are measured against."""

from collections import Counter
from pathlib import Path

import pycocotools.mask

from mmcell.annotations.coco_json import AnnotationError, read_annotations
from mmcell.annotations.raw_layout import TEST_FOLDER
from mmcell.evaluation.coco_masks import to_compressed_rles
from mmcell.masks.rle import areas_px
from mmcell.predictions.checks import is_finite_number


def read_ground_truth(path: str | Path) -> dict:
    """Reads a COCO annotation file and returns its content with masks that can be measured against.

    Every mask becomes a compressed RLE that can be decoded, also polygons and RLEs with listed run lengths. If ``area``
    (px) or ``bbox`` (xywh in px) is missing, it is taken from the mask.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: :func:`read_annotations` refuses the file, or there is no image, no true cell, an image without
            height and width, a crowd region, an area or a bbox that is not made of numbers, an area below 0, or a mask
            that cannot be decoded, has another size than its image, or has no pixel.
    """
    document = read_annotations(path)
    if not document['images']:
        raise AnnotationError(f'{path} contains no image')
    if not document['annotations']:
        raise AnnotationError(f"{path} contains no true cell to measure against in its {len(document['images'])} "
                              'images. Predictions of test images whose cells are unknown can be submitted with '
                              'tools/submit.py')
    sizes = {image['id']: _size_of(image, path) for image in document['images']}
    for annotation in document['annotations']:
        _check_annotation(annotation, path)
    rles, problems = to_compressed_rles([annotation.get('segmentation') for annotation in document['annotations']],
                                        [sizes[annotation['image_id']] for annotation in document['annotations']])
    for index, problem in problems.items():
        annotation = document['annotations'][index]
        raise AnnotationError(f"{path}: {len(problems)} annotations have a bad mask, the first is annotation "
                              f"{annotation['id']} of image {annotation['image_id']}: {problem}")
    all_areas_px = areas_px(rles)
    empty = [annotation['id'] for annotation, area_px in zip(document['annotations'], all_areas_px, strict=True)
             if not area_px]
    if empty:
        raise AnnotationError(f'{path}: {len(empty)} true cells have no pixel, the first is annotation {empty[0]}. No '
                              'prediction could find them: remove them')
    annotations = [{'area': int(area_px), 'bbox': bbox_xywh.tolist(), **annotation, 'segmentation': rle}
                   for annotation, rle, area_px, bbox_xywh in zip(
                       document['annotations'], rles, all_areas_px, pycocotools.mask.toBbox(rles),
                       strict=True)]
    return {**document, 'annotations': annotations}


def _check_annotation(annotation: dict, path: str | Path) -> None:
    """Raises AnnotationError if an annotation is a crowd region, or its area or bbox cannot be used."""
    where = f"{path}: annotation {annotation['id']}"
    if annotation.get('iscrowd'):
        raise AnnotationError(f'{where} is a crowd region (iscrowd 1), but only single cells can be measured against: '
                              'remove it')
    area_px = annotation.get('area', 0)
    if not is_finite_number(area_px) or area_px < 0:
        raise AnnotationError(f'{where} has area {area_px!r}, but it must be a number of pixels')
    bbox = annotation.get('bbox', [0, 0, 0, 0])
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite_number, bbox)):
        raise AnnotationError(f'{where} has bbox {bbox!r}, but it must be [x, y, width, height] in px')


def _size_of(image: dict, path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) of an image in px."""
    size = image.get('height'), image.get('width')
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise AnnotationError(f"{path}: image {image['id']} has height and width {size}, but they must be whole "
                              'numbers above 0')
    return size


def count_by_class(document: dict, records: list[dict]) -> dict[str, int]:
    """Returns the number of annotations or detections of each class by its name, in the order of the categories."""
    counts = Counter(record['category_id'] for record in records)
    return {category['name']: counts[category['id']] for category in document['categories']}


def is_test_data(path: str | Path, document: dict) -> bool:
    """Whether an annotation file says that its images are test data.

    It does so if its name contains the word "test", for example ``test.json``, or if an image lies in a folder ``test``
    or ``test_release``. Test data under other names is not recognized.
    """
    words = ''.join(letter if letter.isalpha() else ' ' for letter in Path(path).stem.lower()).split()
    return 'test' in words or any(
        {'test', TEST_FOLDER} & set(Path(str(image.get('file_name', '')).lower()).parts[:-1])
        for image in document['images'])
