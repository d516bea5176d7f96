"""Pairs of priors and boxes that overlap, found through grids of the priors.

The cost goes with the pairs where priors are spread about evenly; one far from all others makes the cells of its class
coarse.

Priors are put into classes of like width and height, and each class into a grid over their upper left corners, with
about one prior in a cell. Those that a box can touch lie in a rectangle of cells, and each row of that rectangle is a
run of the priors sorted by cell. On the anchors of one size, whose corners are a lattice, the cells are the lattice's.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# In float64, and for coordinates below this, what is computed here is true to MARGIN_PX.
MAX_COORDINATE_PX = 1e8
_MARGIN_PX = 1e-6
# Sides of 1/4 px and less are one class, and so are those of 8192 px and more.
_LEAST_OCTAVE, _N_OCTAVES = -2, 16
# float64 holds whole numbers up to here.
_MOST_CELLS = 2. ** 52
# Rows of cells, and pairs, that are held at a time: a bound on memory.
_MAX_RUNS = 1 << 17
_MAX_PAIRS = 1 << 18


class _Grids(NamedTuple):
    """One grid for each of C classes of priors; their cells are numbered row by row, grid after grid."""

    begins_xy: Tensor  # (C, 2) smallest x1 and y1 of the priors, in px
    cells_per_px: Tensor  # (C, 1)
    n_cells_xy: Tensor  # (C, 2) int64
    first_cells: Tensor  # (C,) int64, the number of the upper left cell
    largest_wh: Tensor  # (C, 2) greatest width and height of the priors, in px
    sorted_priors: Tensor  # (M,) int64 indices of the priors, by cell
    ends: Tensor  # (cells + 1,) int64: cell i holds sorted_priors[ends[i]:ends[i + 1]]


def iterate_near_pairs(priors_xyxy: Tensor, boxes_xyxy: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Finds all pairs whose intersection has an area, and as a by-product some pairs that are merely near.

    Args:
        priors_xyxy: (N, 4) floating point, in px, finite and below ``MAX_COORDINATE_PX``; in any order.
        boxes_xyxy: (K, 4) likewise, on the same device.

    Yields:
        prior_index, box_index: (P,) int64 each; no pair comes twice, all pairs of a box come at once, and boxes come in
        ascending order. P is bounded, but for a box that is near more priors than the bound.
    """
    priors_xyxy, boxes_xyxy = priors_xyxy.double(), boxes_xyxy.double()
    extended = (priors_xyxy[:, 2:] > priors_xyxy[:, :2]).all(dim=1).nonzero().flatten()
    boxes = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(dim=1).nonzero().flatten()
    if not len(extended) or not len(boxes):
        return
    grids = _build_grids(priors_xyxy[extended], extended)
    first_cells_xy, n_cells_xy = _cells_in_reach(grids, boxes_xyxy[boxes])
    for some in _split_by_load(n_cells_xy[..., 1].sum(dim=1), _MAX_RUNS):
        run_boxes, run_begins, run_lengths = _runs_of_priors(grids, first_cells_xy[some], n_cells_xy[some])
        n_pairs = run_lengths.new_zeros(some.stop - some.start).scatter_add_(0, run_boxes, run_lengths)
        n_runs = torch.bincount(run_boxes, minlength=len(n_pairs)).cumsum(0)
        for part in _split_by_load(n_pairs, _MAX_PAIRS):
            runs = slice(int(n_runs[part.start - 1]) if part.start else 0, int(n_runs[part.stop - 1]))
            lengths = run_lengths[runs]
            places = _expand(run_begins[runs], lengths)
            if not len(places):
                continue
            box_index = torch.repeat_interleave(boxes[some][run_boxes[runs]], lengths, output_size=len(places))
            yield grids.sorted_priors.index_select(0, places), box_index


def _build_grids(priors_xyxy: Tensor, prior_index: Tensor) -> _Grids:
    """Grids of the priors (M, 4) float64 with extent, whose indices in the caller's tensor are given."""
    sizes_wh = priors_xyxy[:, 2:] - priors_xyxy[:, :2]
    corners_xy = priors_xyxy[:, :2]
    classes = _classes_of_size(sizes_wh)
    n_classes = int(classes.max()) + 1

    def reduced(values: Tensor, how: str) -> Tensor:
        index = classes[:, None].expand(-1, 2)
        return values.new_zeros(n_classes, 2).scatter_reduce_(0, index, values, how, include_self=False)

    begins_xy = reduced(corners_xy, 'amin')
    cells_per_px = _cells_per_px(reduced(corners_xy, 'amax') - begins_xy, torch.bincount(classes))
    cells_xy = _cell_of(corners_xy, begins_xy[classes], cells_per_px[classes])
    n_cells_xy = reduced(cells_xy, 'amax') + 1
    ends = n_cells_xy.prod(dim=1).cumsum(0)
    first_cells = ends - n_cells_xy.prod(dim=1)
    sorted_cells, order = (first_cells[classes] + cells_xy[:, 1] * n_cells_xy[classes, 0] + cells_xy[:, 0]).sort()
    n_priors = torch.bincount(sorted_cells, minlength=int(ends[-1]))
    return _Grids(begins_xy, cells_per_px, n_cells_xy, first_cells, reduced(sizes_wh, 'amax'), prior_index[order],
                  torch.cat([n_priors.new_zeros(1), n_priors.cumsum(0)]))


def _classes_of_size(sizes_wh: Tensor) -> Tensor:
    """Class (M,) of each size (M, 2), without gaps from 0 on: its octave of widths and its octave of heights."""
    # A quarter more, since sides are often powers of two with a rounding error.
    octaves = (sizes_wh.float().log2() + .25 - _LEAST_OCTAVE).clamp(0, _N_OCTAVES - 1).long()
    classes = octaves[:, 0] * _N_OCTAVES + octaves[:, 1]
    exists = torch.bincount(classes, minlength=_N_OCTAVES ** 2) > 0
    return (exists.cumsum(0) - 1).index_select(0, classes)


def _cells_per_px(spans_xy: Tensor, n_priors: Tensor) -> Tensor:
    """Density (C, 1) of the lattice of n points over the span: u with (span_x u + 1)(span_y u + 1) = n."""
    b = spans_xy.sum(dim=1)
    n = (n_priors - 1).double()
    u = 2 * n / (b + (b * b + 4 * spans_xy.prod(dim=1) * n).sqrt())
    return torch.where(b > 0, u, 0)[:, None]


def _cell_of(points_xy: Tensor, begins_xy: Tensor, cells_per_px: Tensor) -> Tensor:
    """Column and row of points. Monotone in each coordinate, rounding included; lattice points are in mid-cell."""
    # Cells of corners that are next to equal are so small that a point far from them has no number for its own.
    cells = ((points_xy - begins_xy) * cells_per_px + .5).floor()
    return cells.nan_to_num(0.).clamp(-_MOST_CELLS, _MOST_CELLS).long()


def _cells_in_reach(grids: _Grids, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """First cell and number of cells (K, C, 2: x, y) in which priors that overlap the boxes (K, 4) can have corners."""
    boxes_xyxy = boxes_xyxy[:, None]
    lowest_xy = boxes_xyxy[..., :2] - grids.largest_wh - _MARGIN_PX
    first = _cell_of(lowest_xy, grids.begins_xy, grids.cells_per_px).clamp(min=0)
    last = _cell_of(boxes_xyxy[..., 2:], grids.begins_xy, grids.cells_per_px).minimum(grids.n_cells_xy - 1)
    n_cells = (last - first + 1).clamp(min=0)
    return first, n_cells * (n_cells > 0).all(dim=-1, keepdim=True)


def _runs_of_priors(grids: _Grids, first_cells_xy: Tensor, n_cells_xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One run for each row of each rectangle of cells: the box (R,), where it begins in sorted_priors, its length."""
    n_classes = first_cells_xy.shape[1]
    n_rows = n_cells_xy[..., 1].flatten()
    corner_cells = grids.first_cells + first_cells_xy[..., 1] * grids.n_cells_xy[:, 0] + first_cells_xy[..., 0]
    rectangles = torch.repeat_interleave(n_rows)
    row = _expand(torch.zeros_like(n_rows), n_rows)
    row_pitch = grids.n_cells_xy[:, 0].index_select(0, rectangles % n_classes)
    cell = corner_cells.flatten().index_select(0, rectangles) + row * row_pitch
    begins = grids.ends.index_select(0, cell)
    lengths = grids.ends.index_select(0, cell + n_cells_xy[..., 0].flatten().index_select(0, rectangles)) - begins
    return rectangles // n_classes, begins, lengths


def _expand(begins: Tensor, lengths: Tensor) -> Tensor:
    """Concatenation of the ranges begin, begin + 1, ... of the given lengths."""
    ends = lengths.cumsum(0)
    n = int(ends[-1]) if len(ends) else 0
    shifts = torch.repeat_interleave(begins - ends + lengths, lengths, output_size=n)
    return shifts.add_(torch.arange(n, device=begins.device))


def _split_by_load(loads: Tensor, max_load: int) -> Iterator[slice]:
    """Consecutive slices of items (K,), each with a load below ``max_load`` and that of one item."""
    if not len(loads):
        return
    _, counts = torch.unique_consecutive(loads.cumsum(0) // max_load, return_counts=True)
    begin = 0
    for count in counts.tolist():
        yield slice(begin, begin + count)
        begin += count
