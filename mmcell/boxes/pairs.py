"""Finds the pairs of priors and boxes that overlap, with the help of grids of the priors.

Priors are divided into size classes of similar width and height. Each size class has a grid over the upper left corners
of its priors, with about one prior per grid cell. The priors that a box can touch lie in a rectangle of grid cells, and
each row of this rectangle is an uninterrupted run in the list of priors that are sorted by grid cell. For anchors of
one size, whose corners form a lattice, each grid cell holds exactly one anchor.

The cost is proportional to the number of pairs if priors are spread about evenly. A single prior far from all others
makes the grid of its size class coarse.

Example: prior 0 is (0, 0, 16, 16), and priors 1 to 6 have 8x8 px with corners (0, 0), (8, 0), (16, 0), (0, 8), (8, 8)
and (16, 8). The 8x8 class has a grid of 3x2 cells of 8x8 px, with numbers 0 to 5; the class of prior 0 is cell 6. Hence
sorted_priors = [1, 2, 3, 4, 5, 6, 0] and ends = [0, 1, 2, 3, 4, 5, 6, 7]. The box (9, 1, 11, 12) can touch 8x8 priors
with corners from (1, -7) to (11, 12): columns 0 and 1 in rows 0 and 1. Its runs in sorted_priors begin at 0 and 3 with
length 2, and at 6 with length 1: these are priors 1, 2, 4, 5 and 0, of which 2, 5 and 0 overlap the box.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmcell.ragged import offsets_of, split_by_load

# For coordinates below this bound, the float64 computations in this file have errors below _MARGIN_PX.
MAX_COORDINATE_PX = 1e8
_MARGIN_PX = 1e-6
# An octave is a range of sides in which the largest is twice the smallest. Octave 0 holds all sides below 2 ** -1.25 =
# .42 px, and the last octave holds all sides from 2 ** 12.75 = 6889 px on.
_LEAST_OCTAVE, _N_OCTAVES = -2, 16
# Up to this number, float64 can tell cell numbers apart from their neighbours.
_MOST_CELLS = 2. ** 52
# Numbers of runs (rows of grid cells) and of pairs that are held at a time, which bounds the memory.
_MAX_RUNS = 1 << 17
_MAX_PAIRS = 1 << 18
# On a GPU these numbers are larger, because each group is waited for. A pair takes about 100 bytes.
_MAX_ON_DEVICE = 1 << 23


class _Grids(NamedTuple):
    """One grid per size class, for C size classes; grid cells are numbered row by row, one grid after the other."""

    begins_xy: Tensor  # (C, 2) float64: smallest x1 and y1 of the priors of the size class, in px
    cells_per_px: Tensor  # (C, 1) float64: grid cells per px, the same in x and y
    n_cells_xy: Tensor  # (C, 2) int64: columns and rows of each grid
    first_cells: Tensor  # (C,) int64: number of the upper left cell of each grid
    largest_wh: Tensor  # (C, 2) float64: greatest width and height of the priors of the size class, in px
    sorted_priors: Tensor  # (M,) int64: indices of the priors, sorted by grid cell
    ends: Tensor  # (cells + 1,) int64: grid cell i holds sorted_priors[ends[i]:ends[i + 1]]


def iterate_near_pairs(priors_xyxy: Tensor, boxes_xyxy: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Finds all pairs whose intersection has an area, and as a by-product some pairs that are merely close.

    Args:
        priors_xyxy: Priors (N, 4), floating point, in px, finite and below ``MAX_COORDINATE_PX``, in any order.
        boxes_xyxy: Boxes (K, 4) with the same properties, on the same device.

    Yields:
        Two tensors (P,) int64 with the indices of P priors and of P boxes, which form P pairs. No pair comes twice, all
        pairs of a box come in the same batch, and boxes come in ascending order. P is bounded, except if a single box
        is close to more priors than the bound.
    """
    if not len(priors_xyxy) or not len(boxes_xyxy):
        return
    priors_xyxy, boxes_xyxy = priors_xyxy.double(), boxes_xyxy.double()
    priors = (priors_xyxy[:, 2:] > priors_xyxy[:, :2]).all(dim=1).nonzero().flatten()
    boxes = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(dim=1).nonzero().flatten()
    if not len(priors) or not len(boxes):
        return
    grids = _build_grids(priors_xyxy[priors], priors)
    first_cells_xy, n_cells_xy = _cells_in_reach(grids, boxes_xyxy[boxes])
    max_runs, max_pairs = (_MAX_RUNS, _MAX_PAIRS) if boxes.device.type == 'cpu' else (_MAX_ON_DEVICE, _MAX_ON_DEVICE)
    # A device is waited for here and once per group, because the host needs to know how much memory is to be reserved.
    n_runs = n_cells_xy[..., 1].sum(dim=1).cpu().numpy()
    for group in split_by_load(n_runs, max_runs):
        run_offsets = offsets_of(n_runs[group])
        run_boxes, run_begins, run_lengths = _runs_of_priors(
            grids, first_cells_xy[group], n_cells_xy[group], int(run_offsets[-1]))
        n_pairs = run_lengths.new_zeros(group.stop - group.start).scatter_add_(0, run_boxes, run_lengths).cpu().numpy()
        for batch in split_by_load(n_pairs, max_pairs):
            # Runs are sorted by box. With 3 runs of box 0 and 2 runs of box 1, run_offsets is [0, 3, 5].
            runs = slice(*run_offsets[[batch.start, batch.stop]].tolist())
            n, lengths = int(n_pairs[batch].sum()), run_lengths[runs]
            if n:
                places = _expand(run_begins[runs], lengths, n)
                box_index = torch.repeat_interleave(boxes[group][run_boxes[runs]], lengths, output_size=n)
                yield grids.sorted_priors.index_select(0, places), box_index


def _build_grids(priors_xyxy: Tensor, prior_index: Tensor) -> _Grids:
    """Builds the grids of priors (M, 4) float64 with positive sides; ``prior_index`` (M,) are the caller's indices."""
    sizes_wh = priors_xyxy[:, 2:] - priors_xyxy[:, :2]
    corners_xy = priors_xyxy[:, :2]
    classes = _size_classes(sizes_wh)
    n_classes = int(classes.max()) + 1

    def extreme_per_class(values: Tensor, reduction: str) -> Tensor:
        index = classes[:, None].expand(-1, 2)
        return values.new_zeros(n_classes, 2).scatter_reduce_(0, index, values, reduction, include_self=False)

    begins_xy = extreme_per_class(corners_xy, 'amin')
    cells_per_px = _cells_per_px(extreme_per_class(corners_xy, 'amax') - begins_xy, _count(classes, n_classes))
    cells_xy = _cell_of(corners_xy, begins_xy[classes], cells_per_px[classes])
    n_cells_xy = extreme_per_class(cells_xy, 'amax') + 1
    # Grids of 3x2 cells and of 1x1 cell: ends = [6, 7] and first_cells = [0, 6].
    ends = n_cells_xy.prod(dim=1).cumsum(0)
    first_cells = ends - n_cells_xy.prod(dim=1)
    # The number of a cell is: first cell of the grid + row * columns of the grid + column.
    sorted_cells, order = (first_cells[classes] + cells_xy[:, 1] * n_cells_xy[classes, 0] + cells_xy[:, 0]).sort()
    n_priors = _count(sorted_cells, int(ends[-1]))
    return _Grids(begins_xy, cells_per_px, n_cells_xy, first_cells, extreme_per_class(sizes_wh, 'amax'),
                  prior_index[order], torch.cat([n_priors.new_zeros(1), n_priors.cumsum(0)]))


def _size_classes(sizes_wh: Tensor) -> Tensor:
    """Returns the size class (M,) of each size (M, 2), numbered from 0 without gaps.

    Two sizes are in the same class if their widths are in the same octave and their heights are in the same octave. For
    8x8, 16x16, 15.9x16 and 8x16 px, the classes are 0, 2, 2 and 1.
    """
    # Octaves begin a quarter below powers of two in log2 (at 13.5 px, not at 16 px), because sides are often powers of
    # two with a rounding error and must not be divided between two octaves.
    octaves = (sizes_wh.float().log2() + .25 - _LEAST_OCTAVE).clamp(0, _N_OCTAVES - 1).long()
    classes = octaves[:, 0] * _N_OCTAVES + octaves[:, 1]
    exists = classes.new_zeros(_N_OCTAVES ** 2).scatter_(0, classes, 1)
    return (exists.cumsum(0) - 1).index_select(0, classes)


def _cells_per_px(spans_xy: Tensor, n_priors: Tensor) -> Tensor:
    """Returns how many grid cells per px (C, 1) give about one grid cell per prior.

    The spans (C, 2) are the distances in px between the smallest and the greatest corner, in x and in y.

    A lattice of n points with u points per px has n = (span_x u + 1) (span_y u + 1), which is solved for u. Six corners
    in a lattice over 16x8 px give u = 1/8, since (16/8 + 1) (8/8 + 1) = 6. Without any span, u is 0.
    """
    b = spans_xy.sum(dim=1)
    n = (n_priors - 1).double()
    u = 2 * n / (b + (b * b + 4 * spans_xy.prod(dim=1) * n).sqrt())
    return torch.where(b > 0, u, 0)[:, None]


def _cell_of(points_xy: Tensor, begins_xy: Tensor, cells_per_px: Tensor) -> Tensor:
    """Returns column and row (..., 2) int64 of points (..., 2) in their grids.

    A greater coordinate never has a smaller column or row, even with rounding errors. Points of a lattice lie in the
    middle of their grid cells, so that rounding errors do not move them to a neighbouring cell.
    """
    # If all corners are almost equal, grid cells are so small that the cell number of a distant point is no longer
    # exact or is even infinite. The number is clamped; NaN, which is 0 times infinite cells_per_px, becomes cell 0.
    cells = ((points_xy - begins_xy) * cells_per_px + .5).floor()
    return cells.nan_to_num(0.).clamp(-_MOST_CELLS, _MOST_CELLS).long()


def _cells_in_reach(grids: _Grids, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rectangles of grid cells that contain the corners of all priors that can overlap boxes (K, 4).

    The rectangle of each box in each of the C grids is described by its first cell, (K, C, 2) int64 column and row, and
    by its number of cells, (K, C, 2) int64 columns and rows, both of which are 0 if the rectangle is empty.
    """
    # If the greatest width of a size class is 8 px, a prior of the class can overlap a box from x = 9 to 11 only if its
    # own x1 lies between 9 - 8 = 1 and 11. Except in the first and last octave, the other widths of the class are at
    # least half of the greatest width, so that the rectangle contains few priors that do not overlap the box.
    boxes_xyxy = boxes_xyxy[:, None]
    lowest_xy = boxes_xyxy[..., :2] - grids.largest_wh - _MARGIN_PX
    first = _cell_of(lowest_xy, grids.begins_xy, grids.cells_per_px).clamp(min=0)
    last = _cell_of(boxes_xyxy[..., 2:], grids.begins_xy, grids.cells_per_px).minimum(grids.n_cells_xy - 1)
    n_cells = (last - first + 1).clamp(min=0)
    return first, n_cells * (n_cells > 0).all(dim=-1, keepdim=True)


def _runs_of_priors(grids: _Grids, first_cells_xy: Tensor, n_cells_xy: Tensor,
                    n_runs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the runs of ``sorted_priors`` that rectangles of grid cells cover, one run per row of each rectangle.

    Each of the three results has the shape (R,) and the type int64: the index of the box, the place in
    ``sorted_priors`` where the run begins, and the length of the run.
    """
    # Example: the 3x2 grid of the module's docstring and its rectangle of columns 0 and 1 in both rows. corner_cells is
    # 0, the rows begin at cells 0 + 0 * 3 = 0 and 0 + 1 * 3 = 3, and each row has 2 cells. The runs go from ends[0] = 0
    # to ends[2] = 2 and from ends[3] = 3 to ends[5] = 5.
    n_classes = first_cells_xy.shape[1]
    n_rows = n_cells_xy[..., 1].flatten()
    corner_cells = grids.first_cells + first_cells_xy[..., 1] * grids.n_cells_xy[:, 0] + first_cells_xy[..., 0]
    rectangles = torch.repeat_interleave(n_rows, output_size=n_runs)
    row = _expand(torch.zeros_like(n_rows), n_rows, n_runs)
    row_pitch = grids.n_cells_xy[:, 0].index_select(0, rectangles % n_classes)
    cell = corner_cells.flatten().index_select(0, rectangles) + row * row_pitch
    begins = grids.ends.index_select(0, cell)
    lengths = grids.ends.index_select(0, cell + n_cells_xy[..., 0].flatten().index_select(0, rectangles)) - begins
    return rectangles // n_classes, begins, lengths


def _count(index: Tensor, n: int) -> Tensor:
    """Counts how often each of the numbers from 0 to n - 1 occurs, (n,) int64; a device is not waited for."""
    return index.new_zeros(n).scatter_add_(0, index, torch.ones_like(index))


def _expand(begins: Tensor, lengths: Tensor, n: int) -> Tensor:
    """Concatenates the ranges begin, begin + 1, … of the given lengths, whose sum is ``n``."""
    # Example: begins = [5, 0, 1] and lengths = [2, 0, 3] give [5, 6, 1, 2, 3]. ends = [2, 2, 5], hence the ranges begin
    # at the positions [0, 2, 2] of the result, and begins minus these positions is [5, -2, -1]. Repeated, this is
    # [5, 5, -1, -1, -1], to which the positions [0, 1, 2, 3, 4] are added.
    shifts = torch.repeat_interleave(begins - lengths.cumsum(0) + lengths, lengths, output_size=n)
    return shifts.add_(torch.arange(n, device=begins.device))
