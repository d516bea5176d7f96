"""COCO's greedy matching of detections with true cells, for all images, sizes and IoU thresholds at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from faster_coco_eval.core import mask as rle_functions
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmcell.evaluation.coco_input import ClassAndImage, Detections, TrueCells, sort_annotations, sort_detections

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


def match_classes(document: dict, detections: list[dict], kind: str, size_bins_px: Sequence[float] = (),
                  cap: int | None = None) -> list[ClassMatches]:
    """Matches detections with true cells as ``COCOeval.evaluateImg`` of pycocotools does.

    In each class and image the detections choose in the order of descending scores. Each gets the cell with the largest
    IoU among the cells that are still free and reach the threshold. A cell that is to be found goes before a cell that
    is to be ignored, which is one with ``iscrowd`` or of another size.

    Args:
        document: COCO ground truth.
        detections: COCO results with compressed RLEs (needed for 'segm') or boxes xywh in px (needed for 'bbox').
        kind: 'segm' for masks, 'bbox' for boxes.
        size_bins_px: Ascending edges between size bins, as square roots of areas in px. A bin includes both edges.
        cap: How many detections count at most per image and class, best scores first; None counts all.

    Returns:
        The matches of each class, in the order of category ids.

    Raises:
        AnnotationError: There are no categories, an annotation has no area, or the mask of an annotation has another
            size than its image or cannot be decoded.
        ResultsError: The image or the category of a detection is unknown, or the mask of a detection has another size
            than its image or cannot be decoded.
        ValueError: The kind is unknown, or the size bins do not rise.
    """
    if kind not in ('segm', 'bbox'):
        raise ValueError(f"kind must be 'segm' or 'bbox', got {kind!r}")
    ranges_px2 = _area_ranges(size_bins_px)
    pairs = ClassAndImage(document)
    truth = sort_annotations(document, kind, pairs)
    predicted = sort_detections(document, detections, kind, cap, pairs)
    is_unwanted = truth.is_crowd | _is_outside(truth.areas_px2, ranges_px2)
    is_hit, is_ignored = _match_greedily(*_candidates(truth, predicted), len(predicted.groups), is_unwanted,
                                         truth.is_crowd)
    is_ignored |= ~is_hit & _is_outside(predicted.areas_px2, ranges_px2)[:, None]
    return [_select_class(first_group, pairs, truth, predicted, is_unwanted, is_hit, is_ignored)
            for first_group in np.arange(pairs.n_classes) * pairs.n_images]


def _select_class(first_group: int, pairs: ClassAndImage, truth: TrueCells, predicted: Detections,
                  is_unwanted: np.ndarray, is_hit: np.ndarray, is_ignored: np.ndarray) -> ClassMatches:
    """Returns the matches of one class, with the detections of all its images sorted by score.

    Args:
        first_group: The number that :class:`ClassAndImage` gives to the pair of this class and its first image.
        pairs: The numbering of classes and images.
        truth: The N true cells of all classes and images.
        predicted: The M detections of all classes and images.
        is_unwanted: (sizes, N) bool, whether a true cell is to be ignored.
        is_hit: (sizes, thresholds, M) bool.
        is_ignored: (sizes, thresholds, M) bool.
    """
    # With three images the class at position 1 has the groups 3, 4 and 5. Detections of the groups [0, 3, 3, 4, 5] and
    # the scores [.7, .8, .5, .9, .6] give own = slice(1, 5), and by_score = [3, 1, 4, 2], the scores .9, .8, .6, .5.
    # Their groups [4, 3, 5, 3], less the first group, are the positions [1, 0, 2, 0] of their images by id.
    cells, own = (slice(*np.searchsorted(side.groups, [first_group, first_group + pairs.n_images]))
                  for side in (truth, predicted))
    by_score = own.start + np.argsort(-predicted.scores[own], kind='stable')
    images_of_cells = pairs.image_indices[truth.groups[cells] - first_group]
    n_true = np.array([np.bincount(images_of_cells, ~unwanted[cells], pairs.n_images) for unwanted in is_unwanted])
    return ClassMatches(pairs.image_indices[predicted.groups[by_score] - first_group], predicted.ranks[by_score],
                        is_hit[..., by_score], is_ignored[..., by_score], n_true.astype(np.int64))


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


def _candidates(truth: TrueCells, predicted: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the P pairs of a detection and a true cell that reach the lowest IoU threshold.

    Returns:
        The index of the detection, the index of the true cell, and the IoU of each pair, (P,) each, sorted by detection
        and then by cell.
    """
    # The first entry gives the columns their dtypes if there is no pair.
    columns = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for cells, detections in _common_groups(truth.groups, predicted.groups):
        is_crowd = truth.is_crowd[cells].astype(int).tolist()
        ious = np.asarray(rle_functions.iou(predicted.shapes[detections], truth.shapes[cells], is_crowd))
        i, j = np.nonzero(ious >= IOU_THRESHOLDS[0])
        columns.append((i + detections.start, j + cells.start, ious[i, j]))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def _common_groups(cell_groups: np.ndarray, detection_groups: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Yields the true cells and the detections of each class and image that has both."""
    # The sorted groups [0, 0, 3] of cells and [0, 3, 3, 5] of detections have 0 and 3 in common. This yields the slices
    # (0:2, 0:1) for group 0 and (2:3, 1:3) for group 3.
    common = np.intersect1d(cell_groups, detection_groups)
    edges = [np.searchsorted(groups, common, side) for groups in (cell_groups, detection_groups)
             for side in ('left', 'right')]
    for first_cell, end_cell, first, end in zip(*edges, strict=True):
        yield slice(first_cell, end_cell), slice(first, end)


def _match_greedily(detections: np.ndarray, cells: np.ndarray, ious: np.ndarray, n_detections: int,
                    is_unwanted: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with cells at all sizes and thresholds.

    The pairs form clusters: two detections belong to the same cluster if they share a candidate cell, or are connected
    by a chain of other detections that share cells. Clusters do not influence one another. Therefore the first round
    matches the best detection of every cluster at once, the second round the second best, and so on.

    Args:
        detections: (P,) int64, the detection of each candidate pair. Pairs are sorted by detection, best score of a
            class and image first, and then by cell.
        cells: (P,) int64, the true cell of each pair.
        ious: (P,) float64, the IoU of each pair.
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
    if len(detections) == 0:
        return []
    # The pairs of detections [0, 0, 1, 2] and cells [0, 1, 1, 2] form two clusters: the detections 0 and 1, which share
    # cell 1, and detection 2. Three detections come before the cells, so that the graph has the edges 0-3, 0-4, 1-4 and
    # 2-5. The ranks of the detections in their clusters are [0, 1, 0]. Round one has the pairs [0, 1, 3] of the
    # detections 0 and 2, round two the pair [2] of detection 1.
    graph = coo_array((np.ones(len(detections), bool), (detections, n_detections + cells)),
                      shape=(n_detections + n_cells,) * 2)
    _, clusters = connected_components(graph, directed=False)
    with_pairs, index = np.unique(detections, return_inverse=True)
    order = np.argsort(clusters[with_pairs], kind='stable')
    sorted_clusters = clusters[with_pairs][order]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order)) - np.searchsorted(sorted_clusters, sorted_clusters)
    by_round = np.argsort(ranks[index], kind='stable')
    return np.split(by_round, np.flatnonzero(np.diff(ranks[index][by_round])) + 1)


def _choose(detection: np.ndarray, iou: np.ndarray, is_open: np.ndarray,
            is_wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses at most one pair per detection, at each size and threshold.

    Args:
        detection: (P,) int64, the detection of each pair, ascending.
        iou: (P,) float64, the IoU of each pair.
        is_open: (sizes, thresholds, P) bool, whether the IoU of a pair reaches the threshold and its cell is free.
        is_wanted: (sizes, 1 or thresholds, P) bool, whether the cell of a pair is to be found.

    Returns:
        The size, the threshold and the index of the pair of each match, three int64 arrays of equal length.
    """
    # The pairs of detections [0, 0, 2] have starts = [0, 2] and owner = [0, 0, 1]. Let the IoUs be [.6, .8, .7], all
    # pairs open, and the cell of the second pair be ignored. Detection 0 has a first choice, pair 0, which closes its
    # pair 1 although the IoU of pair 1 is larger: is_open becomes [True, False, True]. The largest open IoUs are
    # best = [.6, .6, .7], and the chosen pairs are last = [0, 2].
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    owner = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(detection)))
    is_first_choice = is_open & is_wanted
    is_open = is_open & (is_first_choice | ~np.logical_or.reduceat(is_first_choice, starts, axis=-1)[..., owner])
    best = np.maximum.reduceat(np.where(is_open, iou, -1), starts, axis=-1)[..., owner]
    # Among cells with equal IoU COCO takes the last one.
    last = np.maximum.reduceat(np.where(is_open & (iou == best), np.arange(len(iou)), -1), starts, axis=-1)
    size, threshold, index = np.nonzero(last >= 0)
    return size, threshold, last[size, threshold, index]
