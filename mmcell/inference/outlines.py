"""Outlines of cells as polygons."""

import numpy as np
import shapely

from mmcell.inference.cells import Cells


def outline_cells(cells: Cells) -> np.ndarray:
    """The outline of each cell along the edges of its pixels, (N,) shapely Polygons or MultiPolygons.

    Coordinates are whole pixels, (x, y) from the outer corner of the first pixel of the image. A pixel is in the cell
    exactly where its centre is inside the polygon, so that a polygon rasterises back to its mask without a difference
    wherever pixels are tested by their centres (QuPath, ImageJ, shapely). Holes are interior rings; a cell of several
    parts, also of parts that touch at a corner alone, is a MultiPolygon. Shells run counter-clockwise as RFC 7946
    (GeoJSON) wants it with y upwards, holes the other way.
    """
    if len(cells) == 0:
        return np.zeros(0, object)
    cell, x, y_first, y_end = _column_runs(cells)
    boxes = shapely.box(x, y_first, x + 1, y_end)
    outlines = shapely.unary_union(shapely.multipolygons(boxes, indices=cell)[:, None], axis=1)
    # Without tolerance: corners between two pixels of one straight edge go, no point moves.
    return shapely.orient_polygons(shapely.simplify(outlines, 0))


def _column_runs(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Runs of pixels down a column, (R,) int64 each: cell, column, first row, one past the last row."""
    x, y, area = cells.pixels
    cell = np.repeat(np.arange(len(cells)), area)
    begins = np.ones(len(x), bool)
    begins[1:] = (np.diff(cell) != 0) | (np.diff(x) != 0) | (np.diff(y) != 1)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(x)) - 1
    return cell[first], x[first], y[first], y[last] + 1
