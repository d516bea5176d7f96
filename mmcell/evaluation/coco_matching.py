"""COCO's greedy matching of detections with true cells: all images, sizes and IoU thresholds at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from faster_coco_eval.core import mask as rle_functions
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmcell.evaluation.coco_input import ClassAndImage, Detections, TrueCells, sort_annotations, sort_detections

IOU_THRESHOLDS = np.linspace(.5, .95, 10)
# Root of COCO's largest area.
LARGEST_PX = 1e5


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class in all images, best score first, and what COCO makes of them.

    Detections of equal score stand in the order of image ids, within an image in the order given.

    Attributes:
        images: (D,) int64 index into the images of the annotation file.
        ranks: (D,) int64, 0 for the best score of its class and image.
        is_hit: (sizes, 10 IoU thresholds, D) bool: finds a true cell. Size 0 is every size.
        is_ignored: likewise: neither hit nor mistake.
        n_true: (sizes, images) int64 true cells to be found.
    """

    images: np.ndarray
    ranks: np.ndarray
    is_hit: np.ndarray
    is_ignored: np.ndarray
    n_true: np.ndarray


def match_classes(document: dict, detections: list[dict], kind: str, size_bins_px: Sequence[float] = (),
                  cap: int | None = None) -> list[ClassMatches]:
    """Matches detections with true cells as ``COCOeval.evaluateImg`` of pycocotools does.

    In each class and image, by descending score, a detection gets the cell that has the largest IoU of those left with
    at least the threshold; one to be found before one to be ignored (crowds, other sizes).

    Args:
        document: COCO ground truth.
        detections: COCO results with compressed RLE ('segm') or boxes xywh ('bbox').
        kind: 'segm' or 'bbox'.
        size_bins_px: edges between size bins, sqrt(area) in px, rising; both ends belong to a bin.
        cap: most detections of a class in an image, those with the best scores; None: all.

    Returns:
        The matches of each class, by category id.

    Raises:
        AnnotationError: an annotation without area; its mask has another size than its image or cannot be decoded.
        ResultsError: likewise a detection; or its image or category is unknown.
        ValueError: an argument out of its range.
    """
    if kind not in ('segm', 'bbox'):
        raise ValueError(f"kind must be 'segm' or 'bbox', got {kind!r}")
    ranges_px2 = _area_ranges(size_bins_px)
    pairs = ClassAndImage(document)
    truth = sort_annotations(document, kind, pairs)
    found = sort_detections(document, detections, kind, cap, pairs)
    is_unwanted = truth.is_crowd | _is_outside(truth.areas_px2, ranges_px2)
    is_hit, is_ignored = _match_greedily(*_candidates(truth, found), len(found.groups), is_unwanted, truth.is_crowd)
    is_ignored |= ~is_hit & _is_outside(found.areas_px2, ranges_px2)[:, None]
    return [_of_class(first, pairs, truth, found, is_unwanted, is_hit, is_ignored)
            for first in np.arange(pairs.n_classes) * pairs.n_images]


def _of_class(first: int, pairs: ClassAndImage, truth: TrueCells, found: Detections, is_unwanted: np.ndarray,
              is_hit: np.ndarray, is_ignored: np.ndarray) -> ClassMatches:
    """The part of the class with this number for its first image, its images put together by score."""
    cells, here = (slice(*np.searchsorted(side.groups, [first, first + pairs.n_images])) for side in (truth, found))
    by_score = here.start + np.argsort(-found.scores[here], kind='stable')
    images_of_cells = pairs.image_indices[truth.groups[cells] - first]
    n_true = np.array([np.bincount(images_of_cells, ~unwanted[cells], pairs.n_images) for unwanted in is_unwanted])
    return ClassMatches(pairs.image_indices[found.groups[by_score] - first], found.ranks[by_score],
                        is_hit[..., by_score], is_ignored[..., by_score], n_true.astype(np.int64))


def _area_ranges(size_bins_px: Sequence[float]) -> np.ndarray:
    """(sizes, 2) least and largest area in px², first that of all."""
    edges = [0, *size_bins_px, LARGEST_PX]
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError(f'size_bins_px must rise between 0 and {LARGEST_PX:.0f}, got {list(size_bins_px)}')
    bins = list(pairwise(edges)) if len(size_bins_px) else []
    return np.array([(0, LARGEST_PX), *bins]) ** 2


def _is_outside(areas_px2: np.ndarray, ranges_px2: np.ndarray) -> np.ndarray:
    """(sizes, N) bool."""
    return (areas_px2 < ranges_px2[:, :1]) | (areas_px2 > ranges_px2[:, 1:])


def _candidates(truth: TrueCells, found: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detection, cell and IoU, (P,) each, of all pairs that the least threshold allows, by detection and cell."""
    columns = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for cells, detections in _groups(truth.groups, found.groups):
        is_crowd = truth.is_crowd[cells].astype(int).tolist()
        ious = np.asarray(rle_functions.iou(found.shapes[detections], truth.shapes[cells], is_crowd))
        i, j = np.nonzero(ious >= IOU_THRESHOLDS[0])
        columns.append((i + detections.start, j + cells.start, ious[i, j]))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def _groups(of_cells: np.ndarray, of_detections: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """True cells and detections of each class and image that has both."""
    common = np.intersect1d(of_cells, of_detections)
    edges = [np.searchsorted(groups, common, side) for groups in (of_cells, of_detections)
             for side in ('left', 'right')]
    for first_cell, end_cell, first, end in zip(*edges, strict=True):
        yield slice(first_cell, end_cell), slice(first, end)


def _match_greedily(found: np.ndarray, cells: np.ndarray, ious: np.ndarray, n_found: int, is_unwanted: np.ndarray,
                    is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matching itself.

    Detections that share no candidate, not even by way of others, do not touch one another. So the best scored one of
    each such cluster is matched, in all clusters at once, then the second, and so on.

    Args:
        found, cells, ious: (P,) pairs, sorted by detection, best score first, and cell.
        n_found: number of detections.
        is_unwanted: (sizes, cells) bool.
        is_crowd: (cells,) bool: may be matched any number of times.

    Returns:
        (sizes, thresholds, n_found) bool: matched with a wanted cell; with another.
    """
    n_sizes, n_cells = is_unwanted.shape
    is_hit, is_ignored = np.zeros((2, n_sizes, len(IOU_THRESHOLDS), n_found), bool)
    is_taken = np.zeros((n_sizes, len(IOU_THRESHOLDS), n_cells), bool)
    for pairs in _rounds(found, cells, n_found, n_cells):
        detection, cell = found[pairs], cells[pairs]
        is_open = (ious[pairs] >= IOU_THRESHOLDS[:, None]) & (~is_taken[:, :, cell] | is_crowd[cell])
        size, threshold, chosen = _choose(detection, ious[pairs], is_open, ~is_unwanted[:, None, cell])
        is_taken[size, threshold, cell[chosen]] = True
        is_hit[size, threshold, detection[chosen]] = ~is_unwanted[size, cell[chosen]]
        is_ignored[size, threshold, detection[chosen]] = is_unwanted[size, cell[chosen]]
    return is_hit, is_ignored


def _rounds(found: np.ndarray, cells: np.ndarray, n_found: int, n_cells: int) -> list[np.ndarray]:
    """Indices of the pairs of the first detection of every cluster, of the second, and so on."""
    if len(found) == 0:
        return []
    graph = coo_array((np.ones(len(found), bool), (found, n_found + cells)), shape=(n_found + n_cells,) * 2)
    _, clusters = connected_components(graph, directed=False)
    detections, index = np.unique(found, return_inverse=True)
    order = np.argsort(clusters[detections], kind='stable')
    sorted_clusters = clusters[detections][order]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order)) - np.searchsorted(sorted_clusters, sorted_clusters)
    by_round = np.argsort(ranks[index], kind='stable')
    return np.split(by_round, np.flatnonzero(np.diff(ranks[index][by_round])) + 1)


def _choose(detection: np.ndarray, iou: np.ndarray, is_open: np.ndarray,
            is_wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The candidate that each detection gets.

    Args:
        detection, iou: (P,) pairs sorted by detection.
        is_open, is_wanted: (sizes, thresholds, P) bool; the latter may have one threshold for all.

    Returns:
        Size, threshold and pair of each match.
    """
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    owner = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(detection)))
    is_first_choice = is_open & is_wanted
    is_open = is_open & (is_first_choice | ~np.logical_or.reduceat(is_first_choice, starts, axis=-1)[..., owner])
    best = np.maximum.reduceat(np.where(is_open, iou, -1), starts, axis=-1)[..., owner]
    # Of equal ones COCO takes the last.
    last = np.maximum.reduceat(np.where(is_open & (iou == best), np.arange(len(iou)), -1), starts, axis=-1)
    size, threshold, index = np.nonzero(last >= 0)
    return size, threshold, last[size, threshold, index]
