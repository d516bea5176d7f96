"""Predicted cells as arrays, made from samples of MMDetection, and as COCO results."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmcell.annotations.ground_truth import ImageSet
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import areas_px
from mmcell.masks.rle_counts import with_text_counts
from mmcell.predictions.rules import ResultsError, problem_of_labels, unknown_id
from mmcell.ragged import new_indices


@dataclass(frozen=True)
class Predictions:
    """M predicted cells of the images of an :class:`mmcell.annotations.ground_truth.ImageSet`, image after image.

    Attributes:
        image_index: (M,) int64, ascending, the place of the image of each cell.
        class_index: (M,) int64, the place of the class of each cell.
        scores: (M,) float64, from 0 to 1.
        boxes_xywh: (M, 4) float64 in px.
        rles: M masks as compressed COCO RLEs of the size of their image. They may overlap.
    """

    image_index: np.ndarray
    class_index: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray
    rles: list[dict]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, cells: np.ndarray) -> 'Predictions':
        """Returns the cells at the indices (K,) of integers."""
        return Predictions(self.image_index[cells], self.class_index[cells], self.scores[cells], self.boxes_xywh[cells],
                           [self.rles[cell] for cell in cells])

    def of_images(self, is_kept: np.ndarray) -> 'Predictions':
        """Returns the cells of the images with a flag, (I,) bool; only these images count on."""
        kept = self.take(np.flatnonzero(is_kept[self.image_index]))
        return replace(kept, image_index=new_indices(is_kept)[kept.image_index])


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Returns the cells of several parts, sorted by image; the cells of an image keep their order."""
    if not parts:
        return Predictions(*np.zeros((2, 0), np.int64), np.zeros(0), np.zeros((0, 4)), [])
    joined = Predictions(*(np.concatenate([getattr(part, name) for part in parts])
                           for name in ('image_index', 'class_index', 'scores', 'boxes_xywh')),
                         [rle for part in parts for rle in part.rles])
    if (joined.image_index[1:] >= joined.image_index[:-1]).all():
        return joined
    return joined.take(np.argsort(joined.image_index, kind='stable'))


def to_predictions(sample: dict, images: ImageSet, classes_of_labels: np.ndarray) -> Predictions:
    """Returns the cells that are predicted in one image.

    Args:
        sample: MMDetection's data sample as a dict with ``img_id`` and ``pred_instances``, which has bboxes (M, 4) xyxy
            in px, scores (M,), labels (M,) from 0, and masks: (M, H, W) bool, or M compressed RLEs. They are arrays, or
            tensors on any device.
        images: The images and classes that the cells belong to.
        classes_of_labels: (C,) int64, the place of the class of each label, see ``ImageSet.classes_of_labels``.

    Raises:
        ResultsError: The image is unknown, a label has no class, because model and annotation file have different
            classes, or a mask has another size than the image.
    """
    instances = {key: value.cpu().numpy() if hasattr(value, 'cpu') else value
                 for key, value in sample['pred_instances'].items()}
    image_id, labels = sample['img_id'], np.asarray(instances['labels']).astype(np.int64)
    place = images.place_of_image.get(image_id)
    problem = (problem_of_labels(labels, len(classes_of_labels)) if place is not None
               else unknown_id('image_id', image_id, images.place_of_image, images.source))
    if problem is not None:
        raise ResultsError(f'image {image_id}: {problem}')
    boxes_xywh = np.array(instances['bboxes'], dtype=float).reshape(-1, 4)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    rles, size = masks_to_rles(instances['masks']), images.sizes[place].tolist()
    for rle in rles:
        if rle['size'] != size:
            raise ResultsError(f"image {image_id}: the mask size is not the size of the image: {rle['size']} in place "
                               f'of {size} (height, width)')
    return Predictions(np.full(len(labels), place), classes_of_labels[labels],
                       np.array(instances['scores'], dtype=float), boxes_xywh, rles)


def to_coco_results(predictions: Predictions, images: ImageSet) -> list[dict]:
    """Returns COCO results: image_id, category_id, bbox (xywh in px), score, segmentation (counts as str)."""
    return [{'image_id': images.image_ids[image], 'category_id': images.class_ids[category], 'bbox': bbox,
             'score': score, 'segmentation': with_text_counts(rle)} for image, category, bbox, score, rle in zip(
                 predictions.image_index, predictions.class_index, predictions.boxes_xywh.tolist(),
                 predictions.scores.tolist(), predictions.rles, strict=True)]


def find_empty_and_repeated(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Finds masks that a submission leaves out: of equal masks of one class in one image, all but the best scored.

    Returns:
        (M,) bool, whether a mask has no pixel; and (M,) bool, whether it has pixels and is repeated.
    """
    is_empty = areas_px(predictions.rles) == 0
    is_repeated = ~is_empty
    best: dict[tuple, int] = {}
    for index in np.flatnonzero(~is_empty).tolist():
        key = (predictions.image_index[index], predictions.class_index[index], predictions.rles[index]['counts'])
        if key not in best or predictions.scores[index] > predictions.scores[best[key]]:
            best[key] = index
    is_repeated[list(best.values())] = False
    return is_empty, is_repeated
