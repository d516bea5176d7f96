"""The rule by which outlines become pixels: centres inside, shared edges, holes, small and far outlines."""

import numpy as np
import pycocotools.mask
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from mmcell.cells.outlines import outline_masks
from mmcell.masks.polygons import rasterize_flat_polygons, rasterize_geometries, rasterize_rings
from mmcell.masks.rle import encode_label_map
from mmcell.masks.runs import MaskRuns

HEIGHT, WIDTH = 14, 17
# Whole and half numbers, so that centres and corners of pixels are hit, and others.
COORDINATES = st.one_of(st.integers(-3, 20).map(float), st.integers(-6, 40).map(lambda x: x / 2), st.floats(-3, 20))
RINGS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=8).map(np.array)


def decode(rle):
    return pycocotools.mask.decode(rle).astype(bool)


def masks_of(geometries, height=HEIGHT, width=WIDTH):
    """Returns (N, H, W) bool, without the single pixels of instances that contain no centre."""
    found = rasterize_geometries(geometries, height, width)
    return np.array([np.zeros((height, width), bool) if rle is None or is_below else decode(rle)
                     for rle, is_below in zip(found.rles, found.is_below_pixel, strict=True)])


def centres():
    return np.meshgrid(np.arange(WIDTH) + .5, np.arange(HEIGHT) + .5)


@given(RINGS)
def test_pixels_are_those_whose_centres_lie_inside(ring):
    polygon = shapely.Polygon(ring)
    x, y = centres()
    # On the outline, and within what floating-point numbers can tell, either is right.
    is_clear = shapely.distance(polygon.exterior, shapely.points(x, y)) > 1e-6
    # A ring that crosses itself is inside where it goes around an odd number of times.
    expected = np.array([[_is_inside(ring, column, row) for column, row in zip(*line, strict=True)]
                         for line in zip(x, y, strict=True)])
    np.testing.assert_array_equal(masks_of([polygon])[0][is_clear], expected[is_clear])
    if polygon.is_valid:
        np.testing.assert_array_equal(shapely.contains_xy(polygon, x, y)[is_clear], expected[is_clear])


def _is_inside(ring, x, y):
    """Counts how often a ray to the right crosses the ring."""
    n_crossings = 0
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if (y1 > y) != (y2 > y):
            n_crossings += x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1))
    return n_crossings % 2 == 1


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=25, unique=True))
def test_neighbours_share_no_pixel_and_leave_none_out(points):
    cover = shapely.MultiPoint([*points, (-4, -4), (-4, 22), (22, -4), (22, 22)])
    triangles = list(shapely.delaunay_triangles(cover).geoms)
    np.testing.assert_array_equal(masks_of(triangles).sum(axis=0), 1)


@given(st.lists(st.integers(0, 3), min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH))
def test_outlines_along_pixels_give_the_pixels_back(values):
    label_map = np.array(values).reshape(HEIGHT, WIDTH)
    cells = encode_label_map(label_map)
    found = rasterize_geometries(outline_masks(MaskRuns.from_rles(cells.rles, HEIGHT, WIDTH)), HEIGHT, WIDTH)
    assert found.rles == cells.rles and not found.is_below_pixel.any()


def test_rings_inside_are_holes_and_polygons_of_an_instance_are_joined():
    ring, hole = np.array([[1, 1], [9, 1], [9, 9], [1, 9]]), np.array([[3, 3], [6, 3], [6, 6], [3, 6]])
    other = np.array([[8, 8], [12, 8], [12, 11], [8, 11]])
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[1:9, 1:9] = True
    expected[3:6, 3:6] = False
    expected[8:11, 8:12] = True
    geometry = shapely.union(shapely.Polygon(ring, [hole]), shapely.Polygon(other))
    from_rings, = rasterize_rings([[[ring, hole], [other]]], HEIGHT, WIDTH).rles
    np.testing.assert_array_equal(decode(from_rings), expected)
    np.testing.assert_array_equal(masks_of([geometry])[0], expected)
    # In COCO, a list has no holes: all of its polygons are joined.
    flat, = rasterize_flat_polygons([[ring.ravel().tolist(), hole.ravel().tolist()]], HEIGHT, WIDTH).rles
    assert decode(flat).sum() == 64


def test_overlapping_instances_are_both_whole():
    found = rasterize_geometries([shapely.box(1, 1, 9, 9), shapely.box(5, 5, 12, 12)], HEIGHT, WIDTH)
    assert [decode(rle).sum() for rle in found.rles] == [64, 49]


@pytest.mark.parametrize('geometry, pixel', [
    (shapely.Point(3.2, 7.1).buffer(.1), (7, 3)), (shapely.box(3.6, 7.6, 3.9, 7.9), (7, 3)),
    (shapely.box(0, 0, .4, .4), (0, 0)), (shapely.Polygon([(5, 5), (6, 6), (5, 5)]), None),
    (shapely.box(2.6, 4.1, 9.4, 4.3), 'row 4')])
def test_a_cell_below_a_pixel_becomes_one_pixel(geometry, pixel):
    found = rasterize_geometries([geometry], HEIGHT, WIDTH)
    assert found.is_below_pixel.tolist() == [True]
    (y,), (x,) = np.nonzero(decode(found.rles[0]))
    assert pixel is None or (y == 4 and 2 <= x <= 9 if pixel == 'row 4' else (y, x) == pixel)


@pytest.mark.parametrize('ring', [
    [(-9, -9), (-2, -9), (-2, -2)], [(30, 3), (40, 3), (40, 9)], [(3, np.nan), (5, 5), (6, 3)],
    [(3, 1), (5, np.inf), (6, 3)], [(3, 1), (5, 1e300), (6, 3)]])
def test_outlines_outside_of_the_image_and_without_finite_numbers_have_no_pixel(ring):
    found = rasterize_rings([[[np.array(ring)]], [[np.array([(1, 1), (3, 1), (3, 3), (1, 3)])]]], HEIGHT, WIDTH)
    assert found.rles[0] is None and decode(found.rles[1]).sum() == 4 and not found.is_below_pixel.any()


def test_far_corners_are_cut_exactly():
    ring = np.array([(-1e11, 2), (1e11, 2), (1e11, 5), (-1e11, 5)])
    rle, = rasterize_rings([[[ring]]], HEIGHT, WIDTH).rles
    np.testing.assert_array_equal(np.flatnonzero(decode(rle).all(axis=1)), [2, 3, 4])


def test_an_outline_that_would_take_gigabytes_is_refused():
    to_and_fro = np.array([(0, 0), (30_000, 1)] * 1000)
    found = rasterize_rings([[[to_and_fro]], [[np.array([(1, 1), (3, 1), (3, 3), (1, 3)])]]], 100, 30_000)
    assert found.rles[0] is None and found.rles[1] is not None


def test_nothing_gives_nothing():
    assert rasterize_geometries([], HEIGHT, WIDTH).rles == []
    found = rasterize_geometries([shapely.Polygon(), shapely.Point(3, 3), shapely.LineString([(1, 1), (5, 5)])],
                                 HEIGHT, WIDTH)
    assert found.rles == [None] * 3


def test_many_outlines_are_done_in_parts(monkeypatch):
    monkeypatch.setattr('mmcell.masks.polygons._CROSSINGS_PER_PART', 5)
    discs = [shapely.Point(x, 7).buffer(2) for x in range(2, 15)]
    in_parts = rasterize_geometries(discs, HEIGHT, WIDTH).rles
    monkeypatch.undo()
    assert in_parts == rasterize_geometries(discs, HEIGHT, WIDTH).rles
