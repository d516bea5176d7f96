"""Outlines of cells as polygons, and as paths for pictures in web pages."""

import itertools

import numpy as np
import shapely

from mmcell.cells.cells import Cells
from mmcell.masks.runs import MaskRuns
from mmcell.ragged import begins_of_runs, groups_of


def outline_cells(cells: Cells) -> np.ndarray:
    """Draws the outline of each of N cells as :func:`outline_masks` does."""
    return outline_masks(cells.masks)


def outline_masks(masks: MaskRuns) -> np.ndarray:
    """Draws the outline of each of N masks, which have at least one pixel each, along the edges of its pixels.

    A pixel belongs to the cell exactly if its centre is inside the outline, so that programs that test the centres of
    pixels (QuPath, ImageJ, shapely) turn the outline back into exactly the same mask. Holes are interior rings. A cell
    of several pieces is a MultiPolygon, also if its pieces touch at a corner. Exterior rings run counter-clockwise if
    the y axis is drawn upwards, as RFC 7946 (GeoJSON) demands, and interior rings clockwise.

    Returns:
        (N,) shapely Polygons or MultiPolygons. Coordinates are whole numbers, (x, y) in px from the outer corner of the
        first pixel of the image.
    """
    if len(masks) == 0:
        return np.zeros(0, object)
    # Each run is a box of width 1, and an outline is the union of the boxes of a cell. Let a cell have the rows 1, 2
    # and 4 of column 2, and the row 1 of column 3. Its boxes are (2, 1)-(3, 3), (2, 4)-(3, 5) and (3, 1)-(4, 2). The
    # first and the third share an edge; the second touches nothing. The union is an L with the corners (2, 1), (4, 1),
    # (4, 2), (3, 2), (3, 3), (2, 3), and a square with the corners (2, 4), (3, 4), (3, 5), (2, 5).
    x, y_start, y_end = masks.columns
    boxes = shapely.box(x, y_start, x + 1, y_end)
    outlines = shapely.unary_union(shapely.multipolygons(boxes, indices=groups_of(masks.n_runs))[:, None], axis=1)
    # With a tolerance of 0 only vertices in the middle of a straight edge are removed; the shape stays the same.
    return shapely.orient_polygons(shapely.simplify(outlines, 0))


def outline_paths(masks: MaskRuns) -> list[str]:
    """Returns the outline of each of N masks along the edges of its pixels as an SVG path, '' for an empty mask.

    Every ring is a closed part: the square from (2, 1) to (4, 3) is 'M2 1h2v2h-2z'. Filled by the rule ``evenodd``, a
    path covers exactly the pixels of the mask. Coordinates are those of :func:`outline_cells`, which takes about
    fifteen times as long, because it also finds out which ring is a hole in which piece.
    """
    # Every run has a horizontal edge at its top and one at its bottom. Each edge has an end on the vertical line at the
    # left of its column and one on the line at the right. Between two columns the outline runs where exactly one of
    # them has a pixel: if the ends of a mask on a line are sorted by y, this is between the first and the second,
    # between the third and the fourth, and so on. These are the partners. Going along an edge, from its other end to
    # the partner, along the partner's edge and so on leads around a ring.
    # Let a mask have the rows 1 and 2 of column 5 and the row 1 of column 6. Its runs have the edges y = 1, 3 and
    # 1, 2, with the ends 0 … 7, left before right. On the line x = 5 lie the ends 0 and 2, on x = 6 the ends 1, 4, 6
    # and 3 with y = 1, 1, 2 and 3, on x = 7 the ends 5 and 7. The partners are 0-2, 1-4, 6-3 and 5-7. The ring from
    # end 0 is 0-1, 4-5, 7-6, 3-2: two steps right at y = 1, a step left at y = 2 and a step left at y = 3.
    x, y_start, y_end = masks.columns
    line_x = np.stack([x, x + 1, x, x + 1], axis=1).ravel()
    y = np.repeat(np.stack([y_start, y_end], axis=1).ravel(), 2)
    mask = np.repeat(groups_of(masks.n_runs), 4)
    order = np.lexsort((y, line_x, mask))
    partners = np.empty_like(order)
    partners[order[::2]], partners[order[1::2]] = order[1::2], order[::2]
    walk, ring = _walk_rings(partners)
    # Steps that go on at the same height are one. A new one begins with a ring, or where the step before ended at
    # another height.
    step_x, y = 1 - 2 * (walk % 2), y[walk]
    begins = begins_of_runs(ring, y)
    lengths = np.add.reduceat(step_x, begins) if len(begins) else step_x
    is_first = np.append(True, np.diff(ring[begins]) > 0)[:len(begins)]
    moves_y = np.diff(y[begins], prepend=0)
    parts = [f'zM{x} {y}h{length}' if first else f'v{move}h{length}' for first, x, y, move, length in zip(
        is_first.tolist(), line_x[walk[begins]].tolist(), y[begins].tolist(), moves_y.tolist(), lengths.tolist(),
        strict=True)]
    ends = np.searchsorted(mask[walk[begins]], np.arange(len(masks) + 1)).tolist()
    # The "z" of a ring stands before the next ring: it closes the last ring of a mask instead of the first.
    return [''.join(parts[start:end])[1:] + 'z' * (end > start)
            for start, end in itertools.pairwise(ends)]


def _walk_rings(partners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Goes around all rings of :func:`outline_paths`, in the order of their first ends.

    Args:
        partners: (E,) int, the partner of each end. The ends 2k and 2k + 1 belong to one edge.

    Returns:
        The ends at which the edges are entered, and the ring of each, (E / 2,) int64 each.
    """
    walk, sizes = [], []
    partners, is_done = partners.tolist(), bytearray(len(partners) // 2)
    for first in range(0, len(partners), 2):
        n_before, end = len(walk), first
        while not is_done[end >> 1]:
            is_done[end >> 1] = True
            walk.append(end)
            end = partners[end ^ 1]
        if len(walk) > n_before:
            sizes.append(len(walk) - n_before)
    return np.array(walk, np.int64), groups_of(np.array(sizes, np.int64))
