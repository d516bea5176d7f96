"""True cells and detections prepared for COCO evaluation: checked, and sorted by class, image and score."""

from dataclasses import dataclass

import numpy as np

from mmcell.annotations.coco_json import AnnotationError
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.rle import areas_px
from mmcell.predictions.dump_file import ResultsError


class ClassAndImage:
    """Numbers the pairs of a class and an image: by category id, and within a class by image id.

    Attributes:
        n_images: The number of images.
        n_classes: The number of classes.
        image_indices: (n_images,) int64, the indices of the images in the annotation file, in the order of image ids.
    """

    def __init__(self, document: dict) -> None:
        """Reads the ids of images and classes.

        Args:
            document: COCO ground truth.

        Raises:
            AnnotationError: There are no categories.
        """
        # The image ids [9, 4] and the category ids [7, 2] give image_indices = [1, 0], the positions {4: 0, 9: 1} of
        # images and {2: 0, 7: 1} of classes. Then category 7 in image 9 is the pair 1 * 2 + 1 = 3.
        image_ids = [image['id'] for image in document['images']]
        category_ids = sorted(category['id'] for category in document['categories'])
        if not category_ids:
            raise AnnotationError('the annotation file has no categories; at least one is needed')
        self.n_images, self.n_classes = len(image_ids), len(category_ids)
        self.image_indices = np.argsort(np.array(image_ids, np.int64), kind='stable')
        self._image_positions = {image_ids[index]: position for position, index in enumerate(self.image_indices)}
        self._class_positions = {category_id: position for position, category_id in enumerate(category_ids)}

    def check(self, detections: list[dict]) -> None:
        """Checks that the annotation file defines the image and the category of every detection.

        Raises:
            ResultsError: A detection has an unknown image or category.
        """
        for key, known in (('image_id', self._image_positions), ('category_id', self._class_positions)):
            unknown = {detection[key] for detection in detections} - known.keys()
            if unknown:
                raise ResultsError(f'detections have {key} {sorted(unknown, key=str)[:5]}, which the annotation file '
                                   'does not define')

    def numbers(self, records: list[dict]) -> np.ndarray:
        """Returns (N,) int64, the number of the class and image that each annotation or detection belongs to."""
        return np.array([self._class_positions[record['category_id']] * self.n_images
                         + self._image_positions[record['image_id']] for record in records], np.int64)


@dataclass(frozen=True)
class TrueCells:
    """The N annotations, sorted by class and image.

    Attributes:
        groups: (N,) int64, the numbers that :class:`ClassAndImage` gives to class and image; ascending.
        shapes: N compressed RLEs, or N boxes xywh in px.
        areas_px2: (N,) float64, the areas in the annotation file.
        is_crowd: (N,) bool, whether ``iscrowd`` is set.
    """

    groups: np.ndarray
    shapes: list
    areas_px2: np.ndarray
    is_crowd: np.ndarray


@dataclass(frozen=True)
class Detections:
    """The M detections, sorted by class and image, and then by descending score.

    Attributes:
        groups: (M,) int64, the numbers that :class:`ClassAndImage` gives to class and image; ascending.
        shapes: M compressed RLEs, or M boxes xywh in px.
        areas_px2: (M,) areas of the masks or of the boxes.
        scores: (M,) float64.
        ranks: (M,) int64, the place of each detection in its class and image, 0 for the best score.
    """

    groups: np.ndarray
    shapes: list
    areas_px2: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def sort_annotations(document: dict, kind: str, pairs: ClassAndImage) -> TrueCells:
    """Returns the true cells of an annotation file, sorted.

    Args:
        document: COCO ground truth.
        kind: 'segm' for masks, anything else for boxes.
        pairs: The numbering of classes and images.

    Raises:
        AnnotationError: An annotation has no area, or its mask has another size than its image or cannot be decoded.
    """
    for annotation in document['annotations']:
        if 'area' not in annotation:
            raise AnnotationError(f"annotation {annotation['id']} has no area, which COCO evaluation needs to know the "
                                  'size of a cell: add it in px')
    groups = pairs.numbers(document['annotations'])
    order = np.argsort(groups, kind='stable')
    annotations = [document['annotations'][index] for index in order]
    if kind == 'segm':
        sizes_px = _image_sizes(document)
        shapes, problems = to_compressed_rles([annotation['segmentation'] for annotation in annotations],
                                              [sizes_px[annotation['image_id']] for annotation in annotations])
        for index, problem in problems.items():
            raise AnnotationError(f"annotation {annotations[index]['id']}: {problem}")
    else:
        shapes = [annotation['bbox'] for annotation in annotations]
    return TrueCells(groups[order], shapes, np.array([annotation['area'] for annotation in annotations], np.float64),
                     np.array([annotation.get('iscrowd', 0) for annotation in annotations], bool))


def sort_detections(document: dict, detections: list[dict], kind: str, cap: int | None,
                    pairs: ClassAndImage) -> Detections:
    """Returns the detections that a cap leaves, sorted.

    Args:
        document: COCO ground truth.
        detections: COCO results.
        kind: 'segm' for masks, anything else for boxes.
        cap: How many detections are kept at most per image and class, best scores first; None keeps all.
        pairs: The numbering of classes and images.

    Raises:
        ResultsError: The image or the category of a detection is unknown, or its mask has another size than its image
            or cannot be decoded.
    """
    pairs.check(detections)
    groups = pairs.numbers(detections)
    order = np.lexsort((-np.array([detection['score'] for detection in detections], np.float64), groups))
    # The sorted groups [0, 0, 2, 2, 2] begin at [0, 0, 2, 2, 2], so that the ranks are [0, 1, 0, 1, 2].
    ranks = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    if cap is not None:
        order, ranks = order[ranks < cap], ranks[ranks < cap]
    kept = [detections[index] for index in order]
    if kind == 'segm':
        shapes = [detection['segmentation'] for detection in kept]
        areas_px2 = _checked_areas(kept, shapes, _image_sizes(document))
    else:
        shapes = [detection['bbox'] for detection in kept]
        areas_px2 = np.array([width * height for _, _, width, height in shapes], np.float64)
    return Detections(groups[order], shapes, areas_px2,
                      np.array([detection['score'] for detection in kept], np.float64), ranks)


def _image_sizes(document: dict) -> dict[int, list[int]]:
    """Returns the [height, width] in px of each image by its id."""
    return {image['id']: [image['height'], image['width']] for image in document['images']}


def _checked_areas(detections: list[dict], rles: list[dict], sizes_px: dict[int, list[int]]) -> np.ndarray:
    """Checks the masks of detections, which pycocotools would not do, and returns their areas.

    Args:
        detections: N detections.
        rles: Their N masks as compressed RLEs.
        sizes_px: The [height, width] in px of each image by its id.

    Returns:
        (N,) int64, the areas in px².

    Raises:
        ResultsError: A mask has another size than its image, or cannot be decoded.
    """
    for detection, rle in zip(detections, rles, strict=True):
        size_px = sizes_px[detection['image_id']]
        if list(rle['size']) != size_px:
            raise ResultsError(f"image {detection['image_id']} has {size_px} px (height, width), but a mask in it has "
                               f"{rle['size']}")
    try:
        return areas_px(rles)
    except ValueError as reason:
        raise ResultsError(f'a mask cannot be decoded: {reason}') from reason
