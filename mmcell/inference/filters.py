"""Filters that decide which of the predicted cells are kept."""

from collections.abc import Sequence

import numpy as np

from mmcell.inference.cells import Cells


def select_cells(cells: Cells, min_score: float = 0., labels: Sequence[int] | None = None, min_area_px: int = 1,
                 drop_border: bool = False) -> Cells:
    """Returns the cells that pass all filters.

    Args:
        cells: Cells of one image.
        min_score: Smallest score of a cell that is kept.
        labels: Classes that are kept, from 0; None keeps all classes.
        min_area_px: Smallest area, in pixels, of a cell that is kept.
        drop_border: Whether cells that have a pixel in the first or last row or column of the image are left out.
    """
    keep = cells.scores >= min_score
    if labels is not None:
        keep &= np.isin(cells.labels, labels)
    cells = cells.select(keep)
    keep = cells.areas_px >= min_area_px
    if drop_border:
        keep &= ~touches_border(cells)
    return cells.select(keep)


def touches_border(cells: Cells) -> np.ndarray:
    """Returns (N,) bool: whether each cell has a pixel in the first or last row or column of the image."""
    left, top, right, bottom = cells.bboxes_xyxy.T
    return (left == 0) | (top == 0) | (right == cells.width_px) | (bottom == cells.height_px)
