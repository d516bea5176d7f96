"""Finds the pairs of boxes of two sets that overlap, group by group, in NumPy."""

from collections.abc import Iterator

import numpy as np

from mmcell.ragged import groups_of, index_in_group, split_by_load

# The number of pairs that are held at a time, which bounds the memory.
_MAX_PAIRS = 1 << 20


def iterate_overlapping(boxes_xyxy: np.ndarray, groups: np.ndarray, others_xyxy: np.ndarray,
                        other_groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Finds the pairs of boxes of the same group whose intersection has an area.

    The time is proportional to the number of boxes and of pairs that overlap in x.

    Args:
        boxes_xyxy: (N, 4) float64, in any order.
        groups: (N,) int, the group of each box, not negative; for example its image.
        others_xyxy: (M, 4) float64.
        other_groups: (M,) int.

    Yields:
        For some of the boxes at a time, in their order: two arrays (P,) int64 with the places of the boxes and of the
        others that form P pairs, and (P,) float64, the area of their intersections.
    """
    # Coordinates are replaced by their places among the sorted coordinates of the others. So that groups do not meet, a
    # group has the keys from group * (M + 1) on. The others of one group with the x-ranges [2, 5), [3, 4) and [9, 12)
    # have the lefts [2, 3, 9] with the places [0, 1, 2], and the rights with the places [1, 0, 2]; the greatest right
    # so far is [1, 1, 2]. A box [4, 10) is left of no right up to 4, which is one of them: it begins with the first
    # other whose greatest right has at least the place 1, which is other 0. It ends before the first other whose left
    # has at least the place 3, the number of lefts below 10. Of the others 0, 1 and 2, the second one shares nothing.
    lefts, rights = np.sort(others_xyxy[:, 0]), np.sort(others_xyxy[:, 2])
    stride = len(others_xyxy) + 1
    left_keys = other_groups * stride + np.searchsorted(lefts, others_xyxy[:, 0])
    order = np.argsort(left_keys, kind='stable')
    right_keys = np.maximum.accumulate((other_groups * stride + np.searchsorted(rights, others_xyxy[:, 2]))[order])
    first = np.searchsorted(right_keys, groups * stride + np.searchsorted(rights, boxes_xyxy[:, 0], 'right'))
    end = np.searchsorted(left_keys[order], groups * stride + np.searchsorted(lefts, boxes_xyxy[:, 2]))
    n_near = np.maximum(end - first, 0)
    sides, other_sides = boxes_xyxy.T.copy(), others_xyxy.T.copy()  # rows are read faster than columns
    for some in split_by_load(n_near, _MAX_PAIRS):
        near = groups_of(n_near[some]) + some.start
        near_others = order[first[near] + index_in_group(n_near[some])]
        heights = _shared_lengths(sides[1::2], other_sides[1::2], near, near_others)
        is_shared = np.flatnonzero(heights > 0)
        near, near_others = near[is_shared], near_others[is_shared]
        areas = heights[is_shared] * _shared_lengths(sides[0::2], other_sides[0::2], near, near_others)
        is_shared = np.flatnonzero(areas > 0)
        yield near[is_shared], near_others[is_shared], areas[is_shared]


def _shared_lengths(spans: np.ndarray, other_spans: np.ndarray, index: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the lengths (P,) that pairs of spans share, not positive if none; spans (2, N) are begins and ends."""
    return (np.minimum(spans[1].take(index), other_spans[1].take(other))
            - np.maximum(spans[0].take(index), other_spans[0].take(other)))
