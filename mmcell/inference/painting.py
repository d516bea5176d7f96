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
    # Cells are painted from the lowest to the highest score, because NumPy keeps the last of several values that are
    # assigned to one pixel. Example: cell 0 has the number 7, the score .6 and the pixels x = 0, 1; cell 1 has the
    # number 8, the score .9 and the pixels x = 1, 2, 3. The ranks are [1, 0], where 0 is the best; repeated for each
    # pixel they are [1, 1, 0, 0, 0]. In falling order of rank, the pixels [0, 1, 1, 2, 3] get the values
    # [7, 7, 8, 8, 8], and the map becomes [7, 8, 8, 8].
    order = np.argsort(-np.repeat(rank, areas), kind='stable')
    x, y, values = x[order], y[order], np.repeat(numbers, areas)[order]
    is_free = label_map[y, x] == 0
    label_map[y[is_free], x[is_free]] = values[is_free]
