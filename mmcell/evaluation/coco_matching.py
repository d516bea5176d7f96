"""COCO's greedy matching of detections with true cells, for all images, sizes and IoU thresholds at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mmcell.annotations.coco_json import AnnotationError
from mmcell.annotations.ground_truth import GroundTruth
from mmcell.boxes.overlapping import iterate_overlapping
from mmcell.evaluation.greedy_matching import IOU_THRESHOLDS, match_greedily
from mmcell.evaluation.pairs import Pairs
from mmcell.predictions.cells import Predictions
from mmcell.predictions.rules import ResultsError
from mmcell.ragged import ranks_in_groups

# The square root of the largest area in COCO's size ranges, 1e10 px².
LARGEST_PX = 1e5


@dataclass(frozen=True)
class ClassMatches:
    """The D detections of one class in all images, best score first, each with its outcome by COCO's rules.

    Detections of equal score are ordered by image id, and within an image as they were given.

    Attributes:
        images: (D,) int64, the index of the image of each detection in the annotation file.
        ranks: (D,) int64, the place of each detection in its class and image, 0 for the best score.
        is_hit: (sizes, 10 IoU thresholds, D) bool, whether a detection is matched with a true cell that is to be found.
            Size 0 stands for cells of every size.
        is_ignored: (sizes, 10 IoU thresholds, D) bool, whether a detection is neither a hit nor a mistake.
        n_true: (sizes, images) int64, the number of true cells to be found.
    """

    images: np.ndarray
    ranks: np.ndarray
    is_hit: np.ndarray
    is_ignored: np.ndarray
    n_true: np.ndarray

    def of_image(self, image: int) -> 'ClassMatches':
        """Returns the matches in one image only, for cells of every size."""
        own = np.flatnonzero(self.images == image)
        return ClassMatches(np.zeros(len(own), np.int64), self.ranks[own], self.is_hit[:1, :, own],
                            self.is_ignored[:1, :, own], self.n_true[:1, image:image + 1])


def match_classes(pairs: Pairs, kind: str, size_bins_px: Sequence[float] = (),
                  cap: int | None = None) -> list[ClassMatches]:
    """Matches detections with true cells as ``COCOeval.evaluateImg`` of pycocotools does.

    In each class and image the detections choose in the order of descending scores. Each gets the cell with the largest
    IoU among the cells that are still free and reach the threshold. A cell that is to be found goes before a cell that
    is to be ignored, which is one with ``iscrowd`` or of another size.

    Args:
        pairs: The true and the predicted cells.
        kind: 'segm' for masks, 'bbox' for boxes.
        size_bins_px: Ascending edges between size bins, as square roots of areas in px. A bin includes both edges.
        cap: How many detections count at most per image and class, best scores first; None counts all.

    Returns:
        The matches of each class, in the order of category ids.

    Raises:
        AnnotationError, ResultsError: Boxes are to be matched, and a cell has none: NaN.
        ValueError: The kind is unknown, the size bins do not rise, or a mask is not a valid RLE of the size of its
            image.
    """
    if kind not in ('segm', 'bbox'):
        raise ValueError(f"kind must be 'segm' or 'bbox', got {kind!r}")
    ranges_px2 = _area_ranges(size_bins_px)
    truth, predicted = pairs.truth, pairs.predictions
    order, ranks = _order_detections(truth, predicted, cap)
    detections, cells, ious = _candidates_of_masks(pairs) if kind == 'segm' else _candidates_of_boxes(truth, predicted)
    # Detections are numbered by their places in the order from now on. Those beyond the cap have none.
    places = np.full(len(predicted), -1)
    places[order] = np.arange(len(order))
    if len(order) < len(predicted):
        counts = np.flatnonzero(places[detections] >= 0)
        detections, cells, ious = detections[counts], cells[counts], ious[counts]
    is_unwanted = truth.is_crowd | _is_outside(truth.areas_px, ranges_px2)
    is_hit, is_ignored = match_greedily(places[detections], cells, ious, len(order), is_unwanted, truth.is_crowd)
    areas_px2 = pairs.overlaps.pred_areas_px if kind == 'segm' else predicted.boxes_xywh[:, 2:].prod(axis=1)
    is_ignored |= ~is_hit & _is_outside(areas_px2[order], ranges_px2)[:, None]
    classes, images = predicted.class_index[order], predicted.image_index[order]
    matches = []
    for class_index in np.argsort(truth.class_ids, kind='stable'):
        own = slice(*np.searchsorted(classes, [class_index, class_index + 1]).tolist())
        n_true = [np.bincount(truth.image_index[(truth.class_index == class_index) & ~unwanted],
                              minlength=len(truth.image_ids)) for unwanted in is_unwanted]
        matches.append(ClassMatches(images[own], ranks[own], is_hit[..., own], is_ignored[..., own], np.array(n_true)))
    return matches


def _order_detections(truth: GroundTruth, predicted: Predictions, cap: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the detections that a cap leaves, by class, score and image id, and their ranks in class and image."""
    # The scores [.5, .9, .7] of three detections of one class in the images [0, 0, 1] give the order [1, 2, 0]. Their
    # groups of class and image in this order are [0, 1, 0], and the ranks [0, 0, 1].
    place_of_id = np.argsort(np.argsort(np.array(truth.image_ids, np.int64), kind='stable'))
    order = np.lexsort((place_of_id[predicted.image_index], -predicted.scores, predicted.class_index))
    ranks = ranks_in_groups((predicted.class_index * len(truth.image_ids) + predicted.image_index)[order])
    if cap is None:
        return order, ranks
    is_kept = ranks < cap
    return order[is_kept], ranks[is_kept]


def _area_ranges(size_bins_px: Sequence[float]) -> np.ndarray:
    """Returns (sizes, 2) float64, the least and the largest area of each size in px²; the first row is every size."""
    edges = [0, *size_bins_px, LARGEST_PX]
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError(f'size_bins_px must be ascending numbers between 0 and {LARGEST_PX:.0f} px, '
                         f'got {list(size_bins_px)}')
    bins = list(pairwise(edges)) if len(size_bins_px) else []
    return np.array([(0, LARGEST_PX), *bins]) ** 2


def _is_outside(areas_px2: np.ndarray, ranges_px2: np.ndarray) -> np.ndarray:
    """Returns (sizes, N) bool, whether each of N areas lies outside the range of each size."""
    return (areas_px2 < ranges_px2[:, :1]) | (areas_px2 > ranges_px2[:, 1:])


def _candidates_of_masks(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the P pairs of a detection and a true cell of one class whose masks reach the lowest IoU threshold.

    COCO divides the intersection with a cell that has ``iscrowd`` by the area of the detection, not by the union.

    Returns:
        The index of the detection, the index of the true cell, and the IoU of each pair, (P,) each.
    """
    overlaps = pairs.overlaps
    of_class = np.flatnonzero(pairs.truth.class_index[overlaps.true_index]
                              == pairs.predictions.class_index[overlaps.pred_index])
    detections, cells = overlaps.pred_index[of_class], overlaps.true_index[of_class]
    ious = overlaps.intersections_px[of_class] / np.where(
        pairs.truth.is_crowd[cells], overlaps.pred_areas_px[detections], overlaps.unions_px[of_class])
    is_near = ious >= IOU_THRESHOLDS[0]
    return detections[is_near], cells[is_near], ious[is_near]


def _candidates_of_boxes(truth: GroundTruth, predicted: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Does what :func:`_candidates_of_masks` does, for boxes."""
    for side, kind, error in ((truth, 'an annotation', AnnotationError), (predicted, 'a detection', ResultsError)):
        if np.isnan(side.boxes_xywh).any():
            raise error(f'{kind} has no bbox, which is needed to measure boxes')
    pred_xyxy, true_xyxy = (np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
                            for xywh in (predicted.boxes_xywh, truth.boxes_xywh))
    pred_groups, true_groups = (side.class_index * len(truth.image_ids) + side.image_index
                                for side in (predicted, truth))
    pred_areas_px2, true_areas_px2 = (side.boxes_xywh[:, 2] * side.boxes_xywh[:, 3] for side in (predicted, truth))
    # The first entry gives the columns their dtypes if there is no pair.
    columns = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for detections, cells, shared_px2 in iterate_overlapping(pred_xyxy, pred_groups, true_xyxy, true_groups):
        ious = shared_px2 / np.where(truth.is_crowd[cells], pred_areas_px2[detections],
                                     pred_areas_px2[detections] + true_areas_px2[cells] - shared_px2)
        is_near = ious >= IOU_THRESHOLDS[0]
        columns.append((detections[is_near], cells[is_near], ious[is_near]))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))
