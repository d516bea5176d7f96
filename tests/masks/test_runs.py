"""Masks as runs, compared with bitmaps."""

import numpy as np
import pytest
from support.masks import paint_rles

from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns, intersections_px


def random_masks(rng, n, height, width):
    """Returns random bitmaps (n, height, width) bool. The first is empty, and the second is full."""
    masks = rng.random((n, height, width)) > rng.random((n, 1, 1))
    masks[0], masks[1] = False, True
    return masks


def as_runs(masks, origin_xy=(0, 0), size=None):
    """Converts bitmaps of a part of an image to runs in the whole image."""
    rles = [encode_label_map(mask.astype(np.uint8)).rles[0] if mask.any() else
            {'size': list(mask.shape), 'counts': [mask.size]} for mask in masks]
    (x, y), (part_height, part_width) = origin_xy, masks.shape[1:]
    size = (part_height, part_width) if size is None else size
    return MaskRuns.from_rles(rles, *size, np.array([x, y, x + part_width, y + part_height]))


def as_bitmaps(runs):
    """Converts runs to bitmaps (N, H, W) bool of the whole image."""
    return np.stack([paint_rles([rle]) > 0 for rle in runs.to_rles()])


def test_masks_are_moved_to_their_place_in_the_image(rng):
    masks = random_masks(rng, 8, 7, 9)
    runs = as_runs(masks, (4, 2), (13, 20))
    placed = np.zeros((8, 13, 20), bool)
    placed[:, 2:9, 4:13] = masks
    assert np.array_equal(as_bitmaps(runs), placed)
    assert runs.areas_px.tolist() == masks.sum((1, 2)).tolist()
    assert runs.extents_xyxy[:2].tolist() == [[0] * 4, [4, 2, 13, 9]]
    assert np.array_equal(as_bitmaps(runs.take(np.array([3, 1, 3]))), placed[[3, 1, 3]])
    both = MaskRuns.concatenate([runs, runs.take(np.array([5]))])
    assert np.array_equal(as_bitmaps(both), placed[[*range(8), 5]])
    assert runs.positions.tolist() == [position for mask in placed for position in np.flatnonzero(mask.T)]
    assert len(as_runs(masks[:0], (4, 2), (13, 20))) == 0


@pytest.mark.parametrize('runs_at_once', [3, 1 << 14])
def test_areas_equal_those_of_bitmaps(runs_at_once, rng, monkeypatch):
    monkeypatch.setattr('mmcell.masks.runs._RUNS_AT_ONCE', runs_at_once)
    masks, others = random_masks(rng, 30, 8, 6), random_masks(rng, 30, 8, 6)[::-1]
    runs, other_runs = as_runs(masks), as_runs(others)
    for rect in ([0, 0, 6, 8], [1, 2, 5, 7]):
        x0, y0, x1, y1 = rect
        assert runs.areas_inside_px(np.array(rect)).tolist() == masks[:, y0:y1, x0:x1].sum((1, 2)).tolist()
    i, j, shared = intersections_px(runs, other_runs)
    intersections = np.zeros((30, 30), int)
    intersections[i, j] = shared
    assert np.array_equal(intersections, (masks[:, None] & others[None]).sum((2, 3))) and (shared > 0).all()


def test_unions_equal_those_of_bitmaps(rng):
    masks = random_masks(rng, 24, 5, 6)
    groups = np.append(rng.permutation(9), rng.integers(0, 9, 15))
    united = as_runs(masks).unite(groups)
    expected = np.stack([masks[groups == group].any(0) for group in range(9)])
    assert np.array_equal(as_bitmaps(united), expected)
    assert united.areas_px.tolist() == expected.sum((1, 2)).tolist()


def test_an_image_with_more_pixels_than_32_bits_can_count():
    side = 100_000
    square = encode_label_map(np.ones((4, 4), np.uint8)).rles
    runs, other = (MaskRuns.from_rles(square, side, side, np.array([x, y, x + 4, y + 4]))
                   for x, y in ((side - 4, side - 4), (side - 5, side - 6)))
    assert [values.tolist() for values in intersections_px(runs, other)] == [[0], [0], [3 * 2]]
    assert runs.extents_xyxy.tolist() == [[side - 4, side - 4, side, side]]
    assert runs.to_rles()[0]['size'] == [side, side]
    # Numbers of components, as SciPy gives them, are int32.
    corners = np.array([[0, 0], [2, 0], [side - 4, side - 4], [side - 4, side - 6]])
    parts = MaskRuns.concatenate([MaskRuns.from_rles(square, side, side, np.append(corner, corner + 4))
                                  for corner in corners])
    united = parts.unite(np.array([0, 0, 1, 1], np.int32))
    assert united.areas_px.tolist() == [24, 24]
    assert united.extents_xyxy.tolist() == [[0, 0, 6, 4], [side - 4, side - 6, side, side]]


def test_masks_that_differ_from_their_part_of_the_image_in_size_are_refused():
    rles = encode_label_map(np.ones((20, 30), np.uint8)).rles
    with pytest.raises(ValueError, match=r'size \[20, 30\], the image \[30, 20\]'):
        MaskRuns.from_rles(rles, 30, 20)
    with pytest.raises(ValueError, match=r'size \[20, 30\], the image \[20, 29\]'):
        MaskRuns.from_rles(rles, 90, 90, np.array([5, 5, 34, 25]))
