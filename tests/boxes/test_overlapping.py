"""Overlapping boxes of the same group, compared with the table of all pairs."""

import numpy as np
import pytest

from mmcell.boxes import overlapping
from mmcell.boxes.overlapping import iterate_overlapping


def random_boxes(rng, n):
    """Returns n boxes xyxy on a coarse lattice, so that sides touch and boxes are equal; some have no area."""
    corners_xy = rng.integers(0, 20, (n, 2))
    return np.concatenate([corners_xy, corners_xy + rng.integers(-1, 7, (n, 2))], axis=1) / 4


@pytest.mark.parametrize('max_pairs', [1, 50, 1 << 20])
def test_pairs_and_areas_equal_those_of_the_table(max_pairs, rng, monkeypatch):
    monkeypatch.setattr(overlapping, '_MAX_PAIRS', max_pairs)
    boxes, others = random_boxes(rng, 120), random_boxes(rng, 90)
    others[:2] = [-1000, -1000, 1e6, 1e6]
    groups, other_groups = rng.choice([0, 2, 3, 9], 120), rng.choice([0, 2, 4, 9], 90)
    batches = list(iterate_overlapping(boxes, groups, others, other_groups))
    assert (len(batches) > 1) == (max_pairs < 1 << 20)
    shared = np.zeros((120, 90))
    for index, other, areas in batches:
        assert (areas > 0).all() and (shared[index, other] == 0).all()
        shared[index, other] = areas
    sides = (np.minimum(boxes[:, None, 2:], others[None, :, 2:])
             - np.maximum(boxes[:, None, :2], others[None, :, :2])).clip(0)
    expected = np.where(groups[:, None] == other_groups, sides.prod(axis=2), 0)
    assert np.count_nonzero(expected) > 50
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.parametrize(('n', 'm'), [(0, 0), (3, 0), (0, 3)])
def test_without_boxes_there_is_no_pair(n, m, rng):
    batches = iterate_overlapping(random_boxes(rng, n), np.zeros(n, int), random_boxes(rng, m), np.zeros(m, int))
    assert sum(len(index) for index, _, _ in batches) == 0
