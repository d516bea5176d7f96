"""Painting of overlapping masks, compared with a loop over pixels."""

import numpy as np
import pytest

from mmcell.masks.painting import paint_masks, painting_order, visible_areas_px

HEIGHT, WIDTH = 3, 4


@pytest.mark.parametrize(('scores', 'areas_px', 'expected'), [
    ([.9, .2, .3], [5, 5, 4], [1, 2, 0]),
    ([.5, .5], [4, 9], [1, 0]),
    ([.5, .5], [4, 4], [1, 0]),
    ([], [], []),
])
def test_later_masks_cover_earlier_ones(scores: list, areas_px: list, expected: list) -> None:
    order = painting_order(np.array(scores, float), np.array(areas_px, np.int64))
    assert order.tolist() == expected


@pytest.mark.parametrize('seed', range(20))
def test_each_pixel_shows_the_uppermost_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 6))
    masks = rng.random((n, HEIGHT, WIDTH)) < .5
    scores = rng.integers(0, 3, n) / 2
    numbers = rng.permutation(n) + 1
    label_map = np.where(rng.random((HEIGHT, WIDTH)) < .2, 99, 0)
    expected = label_map.copy()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            covering = [i for i in range(n) if masks[i, y, x]]
            if covering and not label_map[y, x]:
                expected[y, x] = numbers[min(covering, key=lambda i: (-scores[i], masks[i].sum(), i))]
    positions = np.concatenate([np.zeros(0, np.int64), *(np.flatnonzero(mask.ravel(order='F')) for mask in masks)])
    paint_masks(label_map, positions, masks.sum((1, 2)), scores, numbers)
    assert label_map.tolist() == expected.tolist()


@pytest.mark.parametrize('seed', range(10))
def test_visible_areas_are_those_of_the_painted_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 6))
    masks = rng.random((n, HEIGHT, WIDTH)) < .5
    scores, areas_px = rng.integers(0, 3, n) / 2, masks.sum((1, 2))
    positions = np.concatenate([np.zeros(0, np.int64), *(np.flatnonzero(mask.ravel(order='F')) for mask in masks)])
    label_map = np.zeros((HEIGHT, WIDTH), np.int64)
    paint_masks(label_map, positions, areas_px, scores, np.arange(n) + 1)
    expected = np.bincount(label_map.ravel(), minlength=n + 1)[1:]
    assert visible_areas_px(positions, areas_px, scores).tolist() == expected.tolist()
