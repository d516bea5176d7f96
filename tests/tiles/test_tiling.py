import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.masks import paint_rles

from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns, concatenate_runs, intersections_px, runs_of_rles
from mmcell.tiles.tiling import make_grid, overlaps


@given(st.integers(1, 900), st.integers(1, 900),
       st.sampled_from([(128, 32, 32), (100, 37, 8), (64, 0, 1), (96, 63, 32)]))
def test_tiles_cover_the_image_and_overlap_enough(height, width, settings):
    tile_px, overlap_px, align_px = settings
    grid = make_grid(height, width, tile_px, overlap_px, align_px)
    assert np.array_equal(grid.rects_xyxy, grid.input_rects_xyxy)
    for axis, length in ((0, width), (1, height)):
        spans = np.unique(grid.rects_xyxy[:, [axis, axis + 2]], axis=0)
        assert spans[0, 0] == 0 and spans[-1, 1] == length
        assert (spans[:-1, 1] - spans[1:, 0] >= overlap_px).all()
        assert (spans[:, 0] % align_px == 0).all()
        sizes = spans[:, 1] - spans[:, 0]
        assert (sizes[:-1] == tile_px).all() and sizes[-1] <= tile_px
        assert len(spans) == 1 or sizes[-1] > tile_px - align_px
        # With one tile less, all at their greatest distance, tiles would not reach the end of the image.
        step = (tile_px - overlap_px) // align_px * align_px
        assert len(spans) == 1 or (len(spans) - 2) * step + tile_px < length


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400), st.integers(1, 400))
def test_tiles_of_a_resized_image_begin_at_nearly_whole_px_of_the_original(height, width, height_before, width_before):
    grid = make_grid(height, width, 64, 16, 32, (height_before, width_before))
    assert (grid.height, grid.width) == (height_before, width_before)
    for axis, length, before in ((0, width, width_before), (1, height, height_before)):
        columns = [axis, axis + 2]
        spans = np.unique(np.concatenate([grid.input_rects_xyxy[:, columns], grid.rects_xyxy[:, columns]], 1), axis=0)
        assert (spans[0, [0, 2]] == 0).all() and tuple(spans[-1, [1, 3]]) == (length, before)
        assert (spans[:-1, 1] - spans[1:, 0] >= 16).all()
        # Among 32 neighbouring pixels, one is this close to a whole pixel (Dirichlet's approximation theorem).
        assert (np.abs(spans[1:, 0] * before / length - spans[1:, 2]) <= 1).all()
        assert (spans[:, 1] - spans[:, 0] <= 64 + 31).all()
        assert (spans[:, 3] > spans[:, 2]).all() or before < length


def test_corners_are_whole_px_in_both_images_where_that_is_possible():
    grid = make_grid(300, 450, 64, 16, 32, (200, 300))
    assert np.array_equal(grid.input_rects_xyxy[:, :2] * 2, grid.rects_xyxy[:, :2] * 3)


def test_distances_to_seams_neighbours_and_overlaps():
    grid = make_grid(32, 52, 32, 12, 1)
    extents = np.array([[5., 0, 10, 32], [25, 3, 33, 9]])
    assert grid.seam_distances_px(0, extents).tolist() == [22, -1]
    assert grid.seam_distances_px(1, extents).tolist() == [-15, 5]
    assert np.isinf(make_grid(32, 30, 32, 12, 1).seam_distances_px(0, extents)).all()
    assert grid.neighbours(0).tolist() == [1]
    assert overlaps(np.array([0, 0, 2, 2]), np.array([[1, 1, 3, 3], [2, 0, 3, 2]])).tolist() == [True, False]


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match='the overlap must be from 0 to 96 px'):
        make_grid(500, 500, 128, 100)


def random_masks(rng, n, height, width):
    """Returns random bitmaps (n, height, width) bool. The first is empty, and the second is full."""
    masks = rng.random((n, height, width)) > rng.random((n, 1, 1))
    masks[0], masks[1] = False, True
    return masks


def as_runs(masks, origin_xy=(0, 0), height=None):
    """Converts bitmaps of a part of an image to runs in the whole image."""
    rles = [encode_label_map(mask.astype(np.uint8)).rles[0] if mask.any() else
            {'size': list(mask.shape), 'counts': [mask.size]} for mask in masks]
    return runs_of_rles(rles, origin_xy, height or masks.shape[1])


def as_bitmaps(runs, width):
    """Converts runs to bitmaps (N, H, W) bool of the whole image."""
    return np.stack([paint_rles([rle]) > 0 for rle in runs.to_rles(width)])


def test_masks_are_moved_to_their_place_in_the_image(rng):
    masks = random_masks(rng, 8, 7, 9)
    runs = as_runs(masks, (4, 2), 13)
    placed = np.zeros((8, 13, 20), bool)
    placed[:, 2:9, 4:13] = masks
    assert np.array_equal(as_bitmaps(runs, 20), placed)
    assert runs.areas_px.tolist() == masks.sum((1, 2)).tolist()
    assert runs.extents_xyxy[:2].tolist() == [[0] * 4, [4, 2, 13, 9]]
    assert np.array_equal(as_bitmaps(runs.take(np.array([3, 1, 3])), 20), placed[[3, 1, 3]])
    assert np.array_equal(as_bitmaps(concatenate_runs(runs, runs.take(np.array([5]))), 20)[8], placed[5])
    assert len(runs_of_rles([], (4, 2), 13)) == 0


def test_areas_equal_those_of_bitmaps(rng, monkeypatch):
    masks, others = random_masks(rng, 30, 8, 6), random_masks(rng, 30, 8, 6)[::-1]
    runs, other_runs = as_runs(masks), as_runs(others)
    for rect in ([0, 0, 6, 8], [1, 2, 5, 7]):
        x0, y0, x1, y1 = rect
        expected = (masks[:, None] & others[None])[..., y0:y1, x0:x1].sum((2, 3))
        for max_pixels in (1 << 20, 100):
            monkeypatch.setattr('mmcell.masks.runs._MAX_PIXELS', max_pixels)
            i, j, shared = intersections_px(runs, other_runs, np.array(rect))
            intersections = np.zeros((30, 30), int)
            intersections[i, j] = shared
            assert np.array_equal(intersections, expected) and (shared > 0).all()
    begins = rng.integers(0, 4, (30, 2))
    rects = np.concatenate([begins, begins + rng.integers(0, 4, (30, 2))], axis=1)
    inside = [mask[y0:y1, x0:x1].sum() for mask, (x0, y0, x1, y1) in zip(masks, rects, strict=True)]
    assert runs.areas_inside_px(rects).tolist() == inside


def test_unions_equal_those_of_bitmaps(rng):
    masks = random_masks(rng, 24, 5, 6)
    groups = np.append(rng.permutation(9), rng.integers(0, 9, 15))
    united = as_runs(masks).unite(groups)
    expected = np.stack([masks[groups == group].any(0) for group in range(9)])
    assert np.array_equal(as_bitmaps(united, 6), expected)
    assert united.areas_px.tolist() == expected.sum((1, 2)).tolist()


def test_an_image_with_more_pixels_than_32_bits_can_count():
    side = 100_000
    square = encode_label_map(np.ones((4, 4), np.uint8)).rles
    runs = runs_of_rles(square, (side - 4, side - 4), side)
    other = runs_of_rles(square, (side - 5, side - 6), side)
    rect = np.array([side - 9, side - 9, side, side])
    assert [values.tolist() for values in intersections_px(runs, other, rect)] == [[0], [0], [3 * 2]]
    assert isinstance(runs, MaskRuns) and runs.extents_xyxy.tolist() == [[side - 4, side - 4, side, side]]
    assert runs.to_rles(side)[0]['size'] == [side, side]
