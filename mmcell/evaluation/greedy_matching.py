"""COCO's greedy choice of cells by detections, for all sizes and IoU thresholds at once.

The outcomes of a pair, or of a cell, at all sizes and thresholds are the bits of one integer: bit 10 * s + t stands for
size s and IoU threshold t. A step of the matching is then a few bitwise operations, whatever the number of sizes.
"""

from itertools import groupby

import numpy as np

from mmcell.ragged import begins_of_runs, index_in_group, label_components, ranks_in_groups, split_by

IOU_THRESHOLDS = np.linspace(.5, .95, 10)
# Six sizes with ten thresholds each fit into the 63 bits of a positive int64.
_SIZES_AT_ONCE = 6
_THRESHOLD_BITS = (1 << len(IOU_THRESHOLDS)) - 1


def match_greedily(detections: np.ndarray, cells: np.ndarray, ious: np.ndarray, n_detections: int,
                   is_unwanted: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with cells at all sizes and thresholds.

    The pairs form clusters: two detections belong to the same cluster if they share a candidate cell, or are connected
    by a chain of other detections that share cells. Clusters do not influence one another. Therefore the first round
    matches the best detection of every cluster at once, the second round the second best, and so on.

    Args:
        detections: (P,) int, the detection of each candidate pair. The best detection of a class and image has the
            lowest number.
        cells: (P,) int, the true cell of each pair.
        ious: (P,) float64, the IoU of each pair.
        n_detections: The number of detections.
        is_unwanted: (sizes, cells) bool, whether a cell is to be ignored.
        is_crowd: (cells,) bool, whether a cell has ``iscrowd`` and may be matched any number of times.

    Returns:
        Two arrays (sizes, thresholds, n_detections) of bool: whether a detection is matched with a cell to be found,
        and whether it is matched with a cell to be ignored.
    """
    # Each detection looks at its cells by descending IoU; among cells with equal IoU, COCO takes the last one.
    order = np.lexsort((-cells, -ious, detections))
    detections, cells, ious = detections[order], cells[order], ious[order]
    rounds = _rounds(detections, cells, n_detections, is_unwanted.shape[1])
    levels = np.searchsorted(IOU_THRESHOLDS, ious, 'right')
    parts = []
    for first in range(0, len(is_unwanted), _SIZES_AT_ONCE):
        unwanted = is_unwanted[first:first + _SIZES_AT_ONCE]
        bits = _match_bits(rounds, detections, cells, levels, n_detections, unwanted, is_crowd)
        parts.append([_unpack(outcome, len(unwanted)) for outcome in bits])
    return tuple(np.concatenate(outcomes) for outcomes in zip(*parts, strict=True))


def _rounds(detections: np.ndarray, cells: np.ndarray, n_detections: int, n_cells: int) -> list[list[np.ndarray]]:
    """Returns the steps of each round: the indices of the first pairs of its detections, of their second pairs, …

    The pairs are sorted by detection. Round one has the first detections of all clusters, round two the second ones, …
    """
    # The pairs of detections [0, 0, 1, 2] and cells [0, 1, 1, 2] form two clusters: the detections 0 and 1, which share
    # cell 1, and detection 2. Three detections come before the cells, so that the graph has the edges 0-3, 0-4, 1-4 and
    # 2-5. The ranks of the detections in their clusters are [0, 1, 0]. Round one has the pairs 0 and 3, and then 1;
    # round two has the pair 2.
    if not len(detections):
        return []
    clusters = label_components(detections, n_detections + cells, n_detections + n_cells)
    begins = begins_of_runs(detections)
    n_pairs = np.diff(begins, append=len(detections))
    ranks = np.repeat(ranks_in_groups(clusters[detections[begins]]), n_pairs)
    places, most = index_in_group(n_pairs), int(n_pairs.max())
    steps = split_by(ranks * most + places)
    return [list(own) for _, own in groupby(steps, lambda step: ranks[step[0]])]


def _match_bits(rounds: list[list[np.ndarray]], detections: np.ndarray, cells: np.ndarray, levels: np.ndarray,
                n_detections: int, is_unwanted: np.ndarray, is_crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Does what :func:`match_greedily` does for some sizes, and returns the two outcomes as bits, (D,) int64 each.

    ``levels`` (P,) is how many of the thresholds the IoU of each pair reaches; ``rounds`` is the result of
    :func:`_rounds`.
    """
    # Let there be two thresholds and one size. Detection 0 may take cell 0 (level 2, bits 11) or cell 1 (level 1, bits
    # 01), detection 1 cell 0 (level 2). In round one detection 0 hits cell 0 with the bits 11, so that none is left for
    # cell 1. In round two the bits of cell 0 are taken, and detection 1 hits nothing.
    per_size = 1 << len(IOU_THRESHOLDS) * np.arange(len(is_unwanted))
    reached = ((1 << levels) - 1) * per_size.sum()
    unwanted = _THRESHOLD_BITS * per_size @ is_unwanted
    shareable = np.where(is_crowd, 0, -1)
    hits, ignored = np.zeros((2, n_detections), np.int64)
    taken = np.zeros(len(unwanted), np.int64)
    for steps in rounds:
        # All cells that are to be found go before all cells that are to be ignored.
        for outcome, is_allowed in ((hits, ~unwanted), (ignored, unwanted)):
            for pairs in steps:
                detection, cell = detections[pairs], cells[pairs]
                chosen = (reached[pairs] & is_allowed[cell] & ~taken[cell] & ~(hits[detection] | ignored[detection]))
                outcome[detection] |= chosen
                taken[cell] |= chosen & shareable[cell]
    return hits, ignored


def _unpack(bits: np.ndarray, n_sizes: int) -> np.ndarray:
    """Returns bits (D,) int64 as an array (sizes, thresholds, D) of bool."""
    octets = bits.astype('<i8').view(np.uint8).reshape(-1, 8)
    n_bits = n_sizes * len(IOU_THRESHOLDS)
    flags = np.unpackbits(octets, axis=1, count=n_bits, bitorder='little')
    return np.ascontiguousarray(flags.T).view(bool).reshape(n_sizes, len(IOU_THRESHOLDS), -1)
