"""Cells painted into a label map: where they overlap, each pixel belongs to one cell."""

import numpy as np

from mmcell.inference.cells import Cells


def paint_cells(label_map: np.ndarray, cells: Cells, numbers: np.ndarray) -> None:
    """Paints cells into a label map, in place.

    Where cells overlap, the cell with the higher score is seen; of equal scores it is the earlier cell. Pixels that
    are not 0 already keep their value.

    Args:
        label_map: (H, W) integers, 0 = background; changed.
        cells: N cells of an image of this size.
        numbers: (N,) positive integers, the values of the cells.
    """
    x, y, areas = cells.pixels
    rank = np.empty(len(cells), np.int64)
    rank[np.argsort(-cells.scores, kind='stable')] = np.arange(len(cells))
    # NumPy keeps the last of several values for one pixel, so that the pixels of the best cell come last. For example,
    # the scores .5 and .9 give the ranks 1 and 0. With areas of 2 and 3 pixels, the ranks of the pixels are
    # 1 1 0 0 0, and the order is 0 1 2 3 4: the pixels of the cell with .9 are written after those of the cell with .5.
    order = np.argsort(-np.repeat(rank, areas), kind='stable')
    x, y, values = x[order], y[order], np.repeat(numbers, areas)[order]
    is_free = label_map[y, x] == 0
    label_map[y[is_free], x[is_free]] = values[is_free]
