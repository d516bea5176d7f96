"""True cells and detections as COCO evaluation takes them: checked, and sorted by class, image and score."""

from dataclasses import dataclass

import numpy as np
from faster_coco_eval.core import mask as rle_functions

from mmcell.annotations.coco_json import AnnotationError
from mmcell.errors import MmcellError
from mmcell.masks.rle import areas_px
from mmcell.predictions.dump_file import ResultsError


class ClassAndImage:
    """Numbers the pairs of a class and an image by category id, then by image id.

    Attributes:
        n_images, n_classes: how many there are.
        image_indices: (n_images,) int64, the index in the annotation file of each image in the order of ids.
    """

    def __init__(self, document: dict) -> None:
        image_ids = [image['id'] for image in document['images']]
        category_ids = sorted(category['id'] for category in document['categories'])
        if not category_ids:
            raise AnnotationError('the annotation file has no categories')
        self.n_images, self.n_classes = len(image_ids), len(category_ids)
        self.image_indices = np.argsort(np.array(image_ids, np.int64), kind='stable')
        self._image_positions = {image_ids[index]: position for position, index in enumerate(self.image_indices)}
        self._class_positions = {category_id: position for position, category_id in enumerate(category_ids)}

    def check(self, detections: list[dict]) -> None:
        """Raises ResultsError where a detection has an image or a category that there is not."""
        for key, known in (('image_id', self._image_positions), ('category_id', self._class_positions)):
            unknown = {detection[key] for detection in detections} - known.keys()
            if unknown:
                raise ResultsError(f'detections have {key} {sorted(unknown, key=str)[:5]}, which the annotation file '
                                   'does not define')

    def numbers(self, records: list[dict]) -> np.ndarray:
        """(N,) int64 number of the pair that each annotation or detection belongs to."""
        return np.array([self._class_positions[record['category_id']] * self.n_images
                         + self._image_positions[record['image_id']] for record in records], np.int64)


@dataclass(frozen=True)
class TrueCells:
    """Annotations sorted by class and image.

    Attributes:
        groups: (N,) int64 number of the class and image.
        shapes: N compressed RLEs, or boxes xywh in px.
        areas_px2: (N,) float64, as the annotation file says.
        is_crowd: (N,) bool.
    """

    groups: np.ndarray
    shapes: list
    areas_px2: np.ndarray
    is_crowd: np.ndarray


@dataclass(frozen=True)
class Detections:
    """Detections sorted by class and image, then by descending score.

    Attributes:
        groups, shapes: as for true cells.
        areas_px2: (M,) of the mask or the box.
        scores: (M,) float64.
        ranks: (M,) int64, 0 for the best score of its class and image.
    """

    groups: np.ndarray
    shapes: list
    areas_px2: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def sort_annotations(document: dict, kind: str, pairs: ClassAndImage) -> TrueCells:
    """The true cells of an annotation file; see :func:`match_classes`."""
    for annotation in document['annotations']:
        if 'area' not in annotation:
            raise AnnotationError(f"annotation {annotation['id']} has no area, by which COCO sorts cells by size")
    groups = pairs.numbers(document['annotations'])
    order = np.argsort(groups, kind='stable')
    annotations = [document['annotations'][index] for index in order]
    if kind == 'segm':
        shapes = _rles(annotations, _sizes(document))
        _checked_areas(annotations, shapes, _sizes(document), AnnotationError)
    else:
        shapes = [annotation['bbox'] for annotation in annotations]
    return TrueCells(groups[order], shapes, np.array([annotation['area'] for annotation in annotations], np.float64),
                     np.array([annotation.get('iscrowd', 0) for annotation in annotations], bool))


def sort_detections(document: dict, detections: list[dict], kind: str, cap: int | None,
                    pairs: ClassAndImage) -> Detections:
    """The detections that a cap leaves; see :func:`match_classes`."""
    pairs.check(detections)
    groups = pairs.numbers(detections)
    order = np.lexsort((-np.array([detection['score'] for detection in detections], np.float64), groups))
    ranks = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    if cap is not None:
        order, ranks = order[ranks < cap], ranks[ranks < cap]
    kept = [detections[index] for index in order]
    if kind == 'segm':
        shapes = [detection['segmentation'] for detection in kept]
        areas_px2 = _checked_areas(kept, shapes, _sizes(document), ResultsError)
    else:
        shapes = [detection['bbox'] for detection in kept]
        areas_px2 = np.array([width * height for _, _, width, height in shapes], np.float64)
    return Detections(groups[order], shapes, areas_px2,
                      np.array([detection['score'] for detection in kept], np.float64), ranks)


def _sizes(document: dict) -> dict[int, list[int]]:
    """Image id to height and width in px."""
    return {image['id']: [image['height'], image['width']] for image in document['images']}


def _rles(annotations: list[dict], sizes_px: dict[int, list[int]]) -> list[dict]:
    """Compressed RLEs of masks that are one, an RLE of integers, or polygons."""
    return [annotation['segmentation']
            if isinstance(annotation['segmentation'], dict) and isinstance(annotation['segmentation']['counts'], str)
            else rle_functions.segmToRle(annotation['segmentation'], *reversed(sizes_px[annotation['image_id']]))
            for annotation in annotations]


def _checked_areas(records: list[dict], rles: list[dict], sizes_px: dict[int, list[int]],
                   error: type[MmcellError]) -> np.ndarray:
    """Areas of masks in px², (N,).

    Raises:
        error: one has another size than its image, or cannot be decoded; pycocotools takes either without a word.
    """
    for record, rle in zip(records, rles, strict=True):
        size_px = sizes_px[record['image_id']]
        if list(rle['size']) != size_px:
            raise error(f"image {record['image_id']} has {size_px} px (height, width), a mask in it {rle['size']}")
    try:
        return areas_px(rles)
    except ValueError as reason:
        raise error(f'a mask cannot be decoded: {reason}') from reason
