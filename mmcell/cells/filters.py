"""Filters that decide which of the predicted cells are kept."""

from collections.abc import Sequence

import numpy as np

from mmcell.cells.cells import Cells


def select_cells(cells: Cells, min_score: float = 0., labels: Sequence[int] | None = None, min_area_px: int = 1,
                 drop_border: bool = False) -> Cells:
    """Returns the cells that have a pixel and pass all filters.

    Args:
        cells: Cells of one image.
        min_score: Smallest score of a cell that is kept.
        labels: Classes that are kept, from 0; None keeps all classes.
        min_area_px: Smallest area, in pixels, of a cell that is kept.
        drop_border: Whether cells that have a pixel in the first or last row or column of the image are left out.
    """
    # NumPy would round the limit to the precision of the scores.
    keep = cells.scores.astype(np.float64) >= min_score
    if labels is not None:
        keep &= np.isin(cells.labels, labels)
    cells = cells.take(keep)
    keep = cells.masks.areas_px >= max(min_area_px, 1)
    if drop_border:
        left, top, right, bottom = cells.masks.extents_xyxy.T
        keep &= (left > 0) & (top > 0) & (right < cells.masks.width) & (bottom < cells.masks.height)
    return cells.take(keep)
