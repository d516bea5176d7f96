"""Outlines of cells as polygons."""

import numpy as np
import shapely

from mmcell.inference.cells import Cells


def outline_cells(cells: Cells) -> np.ndarray:
    """Draws the outline of each cell along the edges of its pixels.

    A pixel belongs to the cell exactly if its centre is inside the outline, so that programs that test the centres of
    pixels (QuPath, ImageJ, shapely) turn the outline back into exactly the same mask. Holes are interior rings. A cell
    of several pieces is a MultiPolygon, also if its pieces touch at a corner. Exterior rings run counter-clockwise if
    the y axis is drawn upwards, as RFC 7946 (GeoJSON) demands, and interior rings clockwise.

    Returns:
        (N,) shapely Polygons or MultiPolygons. Coordinates are whole numbers, (x, y) in px from the outer corner of the
        first pixel of the image.
    """
    if len(cells) == 0:
        return np.zeros(0, object)
    cell, x, y_first, y_end = _column_runs(cells)
    # Each run is a box of width 1, and an outline is the union of the boxes of a cell. In the example of _column_runs,
    # the boxes of cell 0 are (2, 1)-(3, 3), (2, 4)-(3, 5) and (3, 1)-(4, 2). The first and the third share an edge; the
    # second touches nothing. The union is an L with the corners (2, 1), (4, 1), (4, 2), (3, 2), (3, 3), (2, 3), and a
    # square with the corners (2, 4), (3, 4), (3, 5), (2, 5).
    boxes = shapely.box(x, y_first, x + 1, y_end)
    outlines = shapely.unary_union(shapely.multipolygons(boxes, indices=cell)[:, None], axis=1)
    # With a tolerance of 0 only vertices in the middle of a straight edge are removed; the shape stays the same.
    return shapely.orient_polygons(shapely.simplify(outlines, 0))


def _column_runs(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds the runs of all cells: the uninterrupted stretches of pixels in one column.

    Returns:
        Four (R,) int64 arrays, one entry per run: index of the cell, column, first row, one past the last row.
    """
    x, y, area = cells.pixels
    cell = np.repeat(np.arange(len(cells)), area)
    # A run begins where the cell or the column changes, or where a row is skipped. Example with the pixels
    #   cell    0  0  0  0  1
    #   x       2  2  2  3  3
    #   y       1  2  4  1  2
    #   begins  1  0  1  1  1
    # Runs begin at [0, 2, 3, 4] and end at [1, 2, 3, 4]: cells [0, 0, 0, 1], columns [2, 2, 3, 3], rows from
    # [1, 4, 1, 2] to, and without, [3, 5, 2, 3].
    begins = np.ones(len(x), bool)
    begins[1:] = (np.diff(cell) != 0) | (np.diff(x) != 0) | (np.diff(y) != 1)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(x)) - 1
    return cell[first], x[first], y[first], y[last] + 1
