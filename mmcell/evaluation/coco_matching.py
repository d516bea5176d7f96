"""COCO's greedy matching of detections with true cells, for all images, sizes and IoU thresholds at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from faster_coco_eval.core import mask as rle_functions

from mmcell.annotations.coco_json import AnnotationError
from mmcell.annotations.ground_truth import GroundTruth
from mmcell.evaluation.pairs import Pairs
from mmcell.predictions.cells import Predictions
from mmcell.predictions.rules import ResultsError
from mmcell.ragged import begins_of_runs, groups_of, label_components, ranks_in_groups, split_by

IOU_THRESHOLDS = np.linspace(.5, .95, 10)
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
    by_place = np.lexsort((cells, places[detections]))
    by_place = by_place[places[detections[by_place]] >= 0]
    is_unwanted = truth.is_crowd | _is_outside(truth.areas_px, ranges_px2)
    is_hit, is_ignored = _match_greedily(places[detections[by_place]], cells[by_place], ious[by_place], len(order),
                                         is_unwanted, truth.is_crowd)
    areas_px2 = pairs.overlaps.pred_areas_px if kind == 'segm' else predicted.boxes_xywh[:, 2:].prod(axis=1)
    is_ignored |= ~is_hit & _is_outside(areas_px2[order], ranges_px2)[:, None]
    matches = []
    for class_index in np.argsort(truth.class_ids, kind='stable'):
        own = np.flatnonzero(predicted.class_index[order] == class_index)
        n_true = [np.bincount(truth.image_index[(truth.class_index == class_index) & ~unwanted],
                              minlength=len(truth.image_ids)) for unwanted in is_unwanted]
        matches.append(ClassMatches(predicted.image_index[order[own]], ranks[own], is_hit[..., own],
                                    is_ignored[..., own], np.array(n_true)))
    return matches


def _order_detections(truth: GroundTruth, predicted: Predictions, cap: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the detections that a cap leaves, by score and then image id, and their ranks in class and image."""
    # The scores [.5, .9, .7] of three detections of one class in the images [0, 0, 1] give the order [1, 2, 0]. Their
    # groups of class and image in this order are [0, 1, 0], and the ranks [0, 0, 1].
    place_of_id = np.argsort(np.argsort(np.array(truth.image_ids, np.int64), kind='stable'))
    order = np.lexsort((place_of_id[predicted.image_index], -predicted.scores))
    ranks = ranks_in_groups((predicted.class_index * len(truth.image_ids) + predicted.image_index)[order])
    is_kept = ranks < (np.inf if cap is None else cap)
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
    # The first entry gives the columns their dtypes if there is no pair.
    columns = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    true_groups, pred_groups = (side.class_index * len(truth.image_ids) + side.image_index
                                for side in (truth, predicted))
    true_order, pred_order = (np.argsort(groups, kind='stable') for groups in (true_groups, pred_groups))
    common = np.intersect1d(true_groups, pred_groups)
    edges = [np.searchsorted(groups[order], common, side) for groups, order in (
        (true_groups, true_order), (pred_groups, pred_order)) for side in ('left', 'right')]
    for first_cell, end_cell, first, end in zip(*edges, strict=True):
        cells, detections = true_order[first_cell:end_cell], pred_order[first:end]
        ious = np.asarray(rle_functions.iou(predicted.boxes_xywh[detections], truth.boxes_xywh[cells],
                                            truth.is_crowd[cells].tolist()))
        i, j = np.nonzero(ious >= IOU_THRESHOLDS[0])
        columns.append((detections[i], cells[j], ious[i, j]))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def _match_greedily(detections: np.ndarray, cells: np.ndarray, ious: np.ndarray, n_detections: int,
                    is_unwanted: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with cells at all sizes and thresholds.

    The pairs form clusters: two detections belong to the same cluster if they share a candidate cell, or are connected
    by a chain of other detections that share cells. Clusters do not influence one another. Therefore the first round
    matches the best detection of every cluster at once, the second round the second best, and so on.

    Args:
        detections, cells, ious: (P,) each, the candidate pairs, sorted by detection, best score of a class and image
            first, and then by cell.
        n_detections: The number of detections.
        is_unwanted: (sizes, cells) bool, whether a cell is to be ignored.
        is_crowd: (cells,) bool, whether a cell has ``iscrowd`` and may be matched any number of times.

    Returns:
        Two arrays (sizes, thresholds, n_detections) of bool: whether a detection is matched with a cell to be found,
        and whether it is matched with a cell to be ignored.
    """
    # Detection 0 may take cell 0 (IoU .80) or cell 1 (.60), detection 1 cell 0 (.70) or cell 1 (.57): the arrays are
    # [0, 0, 1, 1], [0, 1, 0, 1] and [.80, .60, .70, .57], in one cluster. In round one detection 0 takes cell 0 at the
    # seven thresholds .50 … .80. In round two cell 1 is left for detection 1, which reaches .50 and .55. From .85 on
    # neither is matched.
    n_sizes, n_cells = is_unwanted.shape
    is_hit, is_ignored = np.zeros((2, n_sizes, len(IOU_THRESHOLDS), n_detections), bool)
    is_taken = np.zeros((n_sizes, len(IOU_THRESHOLDS), n_cells), bool)
    for pairs in _rounds(detections, cells, n_detections, n_cells):
        detection, cell = detections[pairs], cells[pairs]
        is_open = (ious[pairs] >= IOU_THRESHOLDS[:, None]) & (~is_taken[:, :, cell] | is_crowd[cell])
        size, threshold, chosen = _choose(detection, ious[pairs], is_open, ~is_unwanted[:, None, cell])
        is_taken[size, threshold, cell[chosen]] = True
        is_hit[size, threshold, detection[chosen]] = ~is_unwanted[size, cell[chosen]]
        is_ignored[size, threshold, detection[chosen]] = is_unwanted[size, cell[chosen]]
    return is_hit, is_ignored


def _rounds(detections: np.ndarray, cells: np.ndarray, n_detections: int, n_cells: int) -> list[np.ndarray]:
    """Returns the indices of the pairs of each round: the first detections of all clusters, the second ones, …"""
    # The pairs of detections [0, 0, 1, 2] and cells [0, 1, 1, 2] form two clusters: the detections 0 and 1, which share
    # cell 1, and detection 2. Three detections come before the cells, so that the graph has the edges 0-3, 0-4, 1-4 and
    # 2-5. The ranks of the detections in their clusters are [0, 1, 0]. Round one has the pairs [0, 1, 3] of the
    # detections 0 and 2, round two the pair [2] of detection 1.
    clusters = label_components(detections, n_detections + cells, n_detections + n_cells)
    with_pairs, index = np.unique(detections, return_inverse=True)
    ranks = ranks_in_groups(clusters[with_pairs])[index]
    return split_by(ranks)


def _choose(detection: np.ndarray, iou: np.ndarray, is_open: np.ndarray,
            is_wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses at most one pair per detection, at each size and threshold.

    Args:
        detection, iou: (P,) each, the pairs, ascending by detection.
        is_open: (sizes, thresholds, P) bool, whether the IoU of a pair reaches the threshold and its cell is free.
        is_wanted: (sizes, 1 or thresholds, P) bool, whether the cell of a pair is to be found.

    Returns:
        The size, the threshold and the index of the pair of each match, three int64 arrays of equal length.
    """
    # The pairs of detections [0, 0, 2] have starts = [0, 2] and owner = [0, 0, 1]. Let the IoUs be [.6, .8, .7], all
    # pairs open, and the cell of the second pair be ignored. Detection 0 has a first choice, pair 0, which closes its
    # pair 1 although the IoU of pair 1 is larger: is_open becomes [True, False, True]. The largest open IoUs are
    # best = [.6, .6, .7], and the chosen pairs are last = [0, 2].
    starts = begins_of_runs(detection)
    owner = groups_of(np.diff(starts, append=len(detection)))
    is_first_choice = is_open & is_wanted
    is_open = is_open & (is_first_choice | ~np.logical_or.reduceat(is_first_choice, starts, axis=-1)[..., owner])
    best = np.maximum.reduceat(np.where(is_open, iou, -1), starts, axis=-1)[..., owner]
    # Among cells with equal IoU COCO takes the last one.
    last = np.maximum.reduceat(np.where(is_open & (iou == best), np.arange(len(iou)), -1), starts, axis=-1)
    size, threshold, index = np.nonzero(last >= 0)
    return size, threshold, last[size, threshold, index]
