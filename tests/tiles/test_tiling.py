import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(('height', 'width', 'tile_px', 'overlap_px'), [
    (300, 52, 32, 12), (700, 500, 128, 32), (400, 333, 128, 96), (90, 100, 128, 32)])
def test_the_area_that_no_other_tile_sees(height, width, tile_px, overlap_px):
    grid = make_grid(height, width, tile_px, overlap_px, align_px=4)
    n_tiles = np.zeros((height, width), int)
    for x0, y0, x1, y1 in grid.rects_xyxy:
        n_tiles[y0:y1, x0:x1] += 1
    for tile, (x0, y0, x1, y1) in enumerate(grid.rects_xyxy):
        left, top, right, bottom = grid.unshared_xyxy(tile)
        expected = n_tiles[y0:y1, x0:x1] == 1
        area = np.zeros_like(expected)
        area[top:max(bottom, top), left:max(right, left)] = True
        assert np.array_equal(area, expected)


def test_each_point_belongs_to_the_tile_whose_centre_is_nearest():
    grid = make_grid(70, 100, 40, 16, 1)
    points_xy = np.random.default_rng(0).uniform((0, 0), (100, 70), (200, 2))
    counts = np.zeros(len(points_xy), int)
    for tile, (x0, y0, x1, y1) in enumerate(grid.rects_xyxy):
        inside = np.flatnonzero(((points_xy >= (x0, y0)) & (points_xy < (x1, y1))).all(axis=1))
        counts[inside[grid.nearest_tiles(tile, points_xy[inside]) == tile]] += 1
    assert counts.tolist() == [1] * len(points_xy) and len(grid) > 4
