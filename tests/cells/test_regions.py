"""Regions in which cells are counted: which cells they contain, what they are called, and their area."""

import numpy as np
import pytest
import shapely

from mmcell.cells.cells import Cells
from mmcell.cells.regions import Regions
from mmcell.masks.encoding import masks_to_rles

# A repaired outline of this kind is an area and a line.
WITH_LINE = shapely.Polygon([(0, 0), (10, 0), (10, 10), (0, 10), (0, 0), (20, -5), (0, 0)])


def make(*shapes, names=None):
    return Regions.make(names or [f'r{number}' for number in range(len(shapes))], shapes, {})


def cells_at(*corners_xy):
    """Cells of 2 x 2 px with these upper left corners, whose centroids lie 1 px right and below of them."""
    bitmaps = np.zeros((len(corners_xy), 30, 40), bool)
    for bitmap, (x, y) in zip(bitmaps, corners_xy, strict=True):
        bitmap[y:y + 2, x:x + 2] = True
    boxes = np.array([(x, y, 2, 2) for x, y in corners_xy])
    return Cells.from_rles(masks_to_rles(bitmaps), boxes, np.zeros(len(boxes), int), 30, 40)


def test_a_cell_is_in_all_regions_that_contain_its_centroid():
    regions = make(shapely.box(0, 0, 20, 20), shapely.box(10, 10, 30, 30), WITH_LINE)
    cells = cells_at((24, 24), (14, 14), (35, 2), (4, 4))
    cell, region = regions.of_cells(cells)
    assert list(zip(cell.tolist(), region.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 1), (3, 0), (3, 2)]
    assert regions.names_of_cells(cells) == ['r1', 'r0; r1', '', 'r0; r2']
    assert regions.names_of_cells(cells.take(np.zeros(0, int))) == []


@pytest.mark.parametrize('shapes, areas, total', [
    ([shapely.box(0, 0, 20, 20), shapely.box(10, 0, 30, 20)], [400, 400], 600),
    # What lies outside of the image of 40 x 30 px does not count.
    ([shapely.box(-10, -10, 5, 5), shapely.box(35, 25, 99, 99)], [25, 25], 50),
    ([shapely.box(0, 0, 20, 20), shapely.box(5, 5, 10, 10)], [400, 25], 400),
    ([WITH_LINE, shapely.box(5, 5, 15, 15)], [100, 100], 175),
    ([shapely.box(50, 50, 60, 60)], [0], 0)])
def test_areas_that_regions_share_count_once_in_all_regions_together(shapes, areas, total):
    regions = make(*shapes)
    assert regions.areas_px(30, 40) == pytest.approx(areas)
    assert regions.total_area_px(30, 40) == pytest.approx(total)


def test_names_differ_and_have_no_separator():
    boxes = [shapely.box(0, 0, 9, 9)] * 5
    assert make(*boxes, names=['a', 'a', 'b; c', 'b, c', 'd\n\ud800']).names == (
        'a', 'a (2)', 'b, c', 'b, c (2)', 'd\\n\\ud800')
