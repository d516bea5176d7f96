"""How well two predictions of an image agree."""

import numpy as np
import pytest

from mmcell.cells.agreement import Agreement
from mmcell.cells.cells import Cells
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.runs import MaskRuns


def cells_of(*rectangles, labels=None):
    """Returns cells in an image of 20 x 100 px: each covers the columns from x0 to x1 - 1 of the first rows."""
    masks = np.zeros((len(rectangles), 20, 100), bool)
    for mask, (x0, x1, n_rows) in zip(masks, rectangles, strict=True):
        mask[:n_rows, x0:x1] = True
    n = len(rectangles)
    return Cells(MaskRuns.from_rles(masks_to_rles(masks), 20, 100), np.zeros((n, 4), np.float32),
                 np.ones(n, np.float32), np.array(labels or [0] * n, np.int64))


def agreement_of(first, second):
    agreement = Agreement.of_cells(first, second)
    return agreement.n_cells, agreement.ious.tolist()


@pytest.mark.parametrize('others, expected', [
    (cells_of((10, 20, 10)), [1.]),
    (cells_of((10, 20, 5)), [.5]),                    # the smallest IoU that counts
    (cells_of((10, 20, 4)), []),
    (cells_of((10, 20, 10), labels=[1]), []),         # the same pixels, but another class
    (cells_of((60, 70, 10)), []),
])
def test_cells_match_from_half_of_their_union_on(others, expected):
    assert agreement_of(cells_of((10, 20, 10)), others) == (1, expected)


def test_each_cell_is_matched_once_and_the_greatest_iou_comes_first():
    # 10 rows overlap 8 rows by .8 and 9 rows by .9; what is left, 8 rows of 12, is the other pair.
    assert agreement_of(cells_of((0, 10, 10), (0, 10, 12)), cells_of((0, 10, 8), (0, 10, 9))) == (2, [.9, 8 / 12])
    assert agreement_of(cells_of((0, 10, 10)), cells_of((0, 10, 8), (0, 10, 9))) == (2, [.9])
    # Equal masks do not compete for one partner.
    assert agreement_of(cells_of((0, 9, 9), (0, 9, 9)), cells_of((0, 9, 9), (0, 9, 9))) == (2, [1., 1.])


def test_images_are_added():
    first = Agreement.of_cells(cells_of((0, 10, 10), (30, 40, 10)), cells_of((0, 10, 9)))
    total = first + Agreement.of_cells(cells_of(), cells_of((0, 5, 5))) + Agreement.of_cells(cells_of(), cells_of())
    assert (total.n_cells, total.matched_share, total.median_iou) == (3, 1 / 3, .9)


def test_without_cells_nothing_disagrees():
    agreement = Agreement.of_cells(cells_of(), cells_of())
    assert (agreement.n_cells, agreement.matched_share, agreement.median_iou) == (0, 1., 1.)
