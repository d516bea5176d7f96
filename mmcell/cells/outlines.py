"""Outlines of cells as polygons."""

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.ragged import groups_of


def outline_cells(cells: Cells) -> np.ndarray:
    """Draws the outline of each of N cells, which have at least one pixel each, along the edges of its pixels.

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
    # Each run is a box of width 1, and an outline is the union of the boxes of a cell. Let a cell have the rows 1, 2
    # and 4 of column 2, and the row 1 of column 3. Its boxes are (2, 1)-(3, 3), (2, 4)-(3, 5) and (3, 1)-(4, 2). The
    # first and the third share an edge; the second touches nothing. The union is an L with the corners (2, 1), (4, 1),
    # (4, 2), (3, 2), (3, 3), (2, 3), and a square with the corners (2, 4), (3, 4), (3, 5), (2, 5).
    x, y_start, y_end = cells.masks.columns
    boxes = shapely.box(x, y_start, x + 1, y_end)
    outlines = shapely.unary_union(shapely.multipolygons(boxes, indices=groups_of(cells.masks.n_runs))[:, None], axis=1)
    # With a tolerance of 0 only vertices in the middle of a straight edge are removed; the shape stays the same.
    return shapely.orient_polygons(shapely.simplify(outlines, 0))
