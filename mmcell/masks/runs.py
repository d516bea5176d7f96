"""Masks of instances as runs of pixels of a whole image, so that moving, comparing and uniting them is cheap.

The cost depends on the number of runs, or on the pixels of the masks, never on the pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mmcell.masks.rle import encode_runs, extents_of_runs
from mmcell.masks.rle_counts import parse_runs
from mmcell.ragged import (
    begins_of_runs,
    elements_of,
    groups_of,
    index_in_group,
    offsets_of,
    sums_of_groups,
    sums_of_pairs,
)

# A position beyond every image.
_FAR = np.iinfo(np.int64).max
# How many runs are compared at a time, so that their arrays stay in the cache of the processor.
_RUNS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class MaskRuns:
    """N masks in one image.

    Example: in an image of height 10, a mask with the pixels (y, x) = (3, 4), (2, 5) and (3, 5), an empty mask, and a
    mask with the pixels (2, 4) and (3, 6) have starts [43, 52, 42, 63], ends [44, 54, 43, 64] and n_runs [2, 0, 2].

    Attributes:
        starts: (R,) int64, the first position of each run, mask after mask. Pixel (y, x) has the position
            x * height + y. A run lies in one column. The runs of a mask are in ascending order and do not overlap.
        ends: (R,) int64, one past the last position of each run.
        n_runs: (N,) int64, the number of runs of each mask; 0 for a mask without a pixel.
        height: Height of the image in px.
        width: Width of the image in px.
    """

    starts: np.ndarray
    ends: np.ndarray
    n_runs: np.ndarray
    height: int
    width: int

    @classmethod
    def from_rles(cls, rles: Sequence[dict], height: int, width: int,
                  rect_xyxy: np.ndarray | None = None) -> 'MaskRuns':
        """Decodes masks that were predicted in an image, or in a part of it.

        Args:
            rles: N COCO RLEs of the size of their part.
            height: Height of the image in px.
            width: Width of the image in px.
            rect_xyxy: (4,) int, the part in px of the image, or (N, 4) int, the part of each mask; None for the whole
                image.

        Returns:
            The N masks in the whole image.

        Raises:
            ValueError: An RLE and the part differ in size, or an RLE is not valid (see
                :func:`mmcell.masks.rle_counts.parse_rles`).
        """
        rects = np.broadcast_to((0, 0, width, height) if rect_xyxy is None else rect_xyxy, (len(rles), 4))
        starts, ends, n_runs, sizes = parse_runs(rles)
        part_sizes = (rects[:, 2:] - rects[:, :2])[:, ::-1]
        for i in np.flatnonzero((sizes != part_sizes).any(axis=1))[:1]:
            raise ValueError(f"a mask has size {list(rles[i]['size'])}, the image {part_sizes[i].tolist()} "
                             '(height, width); both must be equal')
        # Three masks of a part 2 px high, 3 px wide, with the counts [1, 3, 2], [6] and [0, 1, 4, 1] have the runs
        # [1, 2), [2, 4), [0, 1) and [5, 6), cut at the columns [0, 1, 0, 2]. With the corner of the part at (x, y) =
        # (4, 2) in an image of height 10, position 0 of the part becomes 4 * 10 + 2 = 42, and each column adds
        # 10 - 2 = 8: the shifts [42, 50, 42, 58] give the starts [43, 52, 42, 63].
        starts, ends, x, n_runs = _cut_at_columns(starts, ends, n_runs, part_sizes[:, 0])
        shifts = np.repeat(rects[:, 0] * height + rects[:, 1], n_runs)
        if (part_sizes[:, 0] != height).any():
            shifts += x * np.repeat(height - part_sizes[:, 0], n_runs)
        return cls(starts + shifts, ends + shifts, n_runs, height, width)

    @classmethod
    def from_positions(cls, positions: np.ndarray, areas_px: np.ndarray, height: int, width: int) -> 'MaskRuns':
        """Makes masks from the positions of their pixels, which :attr:`positions` returns again.

        Args:
            positions: (sum of areas,) int64, mask after mask, ascending within each.
            areas_px: (N,) int64, the number of pixels of each mask.
            height: Height of the image in px.
            width: Width of the image in px.
        """
        begins = np.ones(len(positions), bool)
        begins[1:] = (np.diff(positions) != 1) | (positions[1:] % height == 0)
        begins[offsets_of(areas_px)[:-1][areas_px > 0]] = True
        starts = np.flatnonzero(begins)
        lengths = np.diff(np.append(starts, len(positions)))
        n_runs = np.bincount(groups_of(areas_px)[starts], minlength=len(areas_px))
        return cls(positions[starts], positions[starts] + lengths, n_runs, height, width)

    @classmethod
    def concatenate(cls, parts: Sequence['MaskRuns']) -> 'MaskRuns':
        """Returns the masks of one or more parts, which must lie in the same image."""
        return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts])
                                    for name in ('starts', 'ends', 'n_runs')})

    def __len__(self) -> int:
        return len(self.n_runs)

    @cached_property
    def areas_px(self) -> np.ndarray:
        """Areas (N,) int64 of the masks in px."""
        return sums_of_groups(self.ends - self.starts, self.n_runs)

    @cached_property
    def extents_xyxy(self) -> np.ndarray:
        """Tight boxes (N, 4) int64 xyxy in px; x2 and y2 are one past the last pixel. All are 0 for an empty mask."""
        return extents_of_runs(self.starts, self.ends, self.n_runs, self.height)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The column x, the first row and one past the last row of each run, (R,) int64 each."""
        x, y_start = np.divmod(self.starts, self.height)
        return x, y_start, y_start + self.ends - self.starts

    @property
    def positions(self) -> np.ndarray:
        """The positions of all pixels, (sum of areas,) int64, mask after mask.

        The example of this class has the positions [43, 52, 53, 42, 63].
        """
        lengths = self.ends - self.starts
        return np.repeat(self.starts, lengths) + index_in_group(lengths)

    def take(self, index: np.ndarray) -> 'MaskRuns':
        """Returns the masks at the indices (K,) of integers, in their order."""
        runs = elements_of(self.n_runs, index)
        return replace(self, starts=self.starts[runs], ends=self.ends[runs], n_runs=self.n_runs[index])

    @cached_property
    def _offsets(self) -> np.ndarray:
        return offsets_of(self.n_runs)

    def part(self, masks: slice) -> 'MaskRuns':
        """Returns consecutive masks, without copies of their runs."""
        runs = slice(*self._offsets[[masks.start, masks.stop]])
        return replace(self, starts=self.starts[runs], ends=self.ends[runs], n_runs=self.n_runs[masks])

    def areas_inside_px(self, rect_xyxy: np.ndarray) -> np.ndarray:
        """Counts the pixels (N,) int64 of each mask inside a rectangle (4,) int64 in px."""
        left, top, right, bottom = rect_xyxy
        x, y_start, y_end = self.columns
        lengths = (np.minimum(y_end, bottom) - np.maximum(y_start, top)).clip(min=0)
        return sums_of_groups(np.where((x >= left) & (x < right), lengths, 0), self.n_runs)

    def unite(self, groups: np.ndarray) -> 'MaskRuns':
        """Returns one mask per group, with the pixels of all masks of the group.

        Args:
            groups: (N,) int, the group of each mask. Groups are numbered from 0 without gaps.
        """
        # In an image of height 10, three masks with the runs [12, 16), [14, 18), and [18, 20) with [20, 23). Groups
        # [0, 0, 1] have the images shifted by [0, 40] (pitch 40), so that runs of different groups do not meet:
        # starts [12, 14, 58, 60], greatest ends so far [16, 18, 60, 63]. A united run begins where a start is beyond
        # the ends so far, or in a new column, as 60 is: begins = [1, 0, 1, 1]. It stops before the next begins:
        # stops = [0, 1, 1, 1]. Shifted back, the runs are [12, 18), [18, 20) and [20, 23), with n_runs [1, 2].
        run_groups = groups[groups_of(self.n_runs)]
        order = np.lexsort((self.starts, run_groups))
        n_groups = int(groups.max()) + 1 if len(groups) else 0
        pitch = (int(self.ends.max(initial=0)) // self.height + 2) * self.height
        # Groups and pixels of a large image are together more than an int32 can count.
        shift = run_groups[order].astype(np.int64) * pitch
        starts, ends = self.starts[order] + shift, np.maximum.accumulate(self.ends[order] + shift)
        begins = np.ones(len(starts), bool)
        begins[1:] = (starts[1:] > ends[:-1]) | ((starts[1:] == ends[:-1]) & (starts[1:] % self.height == 0))
        stops = np.append(begins[1:], True) if len(begins) else begins
        shift = shift[begins]
        n_runs = np.bincount(run_groups[order][begins], minlength=n_groups)
        return replace(self, starts=starts[begins] - shift, ends=ends[stops] - shift, n_runs=n_runs)

    def to_rles(self) -> list[dict]:
        """Returns N compressed COCO RLEs (counts as str) of the size of the image."""
        return encode_runs(self.starts, self.ends, self.n_runs, self.height, self.width)


def _cut_at_columns(starts: np.ndarray, ends: np.ndarray, n_runs: np.ndarray,
                    heights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cuts the runs of N masks where they go on into the next column.

    Args:
        starts: (R,) int64, the first position of each run in the image of its mask.
        ends: (R,) int64, one past the last position.
        n_runs: (N,) int64, the number of runs of each mask.
        heights: (N,) int64, the height in px of the image of each mask.

    Returns:
        The starts, the ends and the columns of the pieces, and the numbers (N,) of pieces of each mask.
    """
    # In an image of height 2, [1, 4) covers the columns 0 and 1: of the runs [1, 4), [0, 1) and [5, 6) the first
    # columns are [0, 0, 2] and n_columns = [2, 1, 1]. The pieces belong to run = [0, 0, 1, 2] and lie in x =
    # [0, 1, 0, 2].
    is_one_height = len(heights) > 0 and (heights == heights[0]).all()
    height = heights[0] if is_one_height else np.repeat(heights, n_runs)  # NumPy divides by a single number faster
    x = starts // height
    n_columns = (ends - 1) // height - x + 1
    if (n_columns == 1).all():
        return starts, ends, x, n_runs
    run = groups_of(n_columns)
    x = x[run] + index_in_group(n_columns)
    tops = x * (height if is_one_height else height[run])
    bottoms = tops + (height if is_one_height else height[run])
    return (np.maximum(starts[run], tops), np.minimum(ends[run], bottoms), x, sums_of_groups(n_columns, n_runs))


def intersections_px(masks: MaskRuns, others: MaskRuns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the pixels that each mask of one set shares with each mask of another set.

    The time is proportional to the number of runs and of pairs of runs in one column that may overlap; the number of
    pixels does not matter.

    Args:
        masks: N masks, which may overlap one another.
        others: M masks in the same image.

    Returns:
        Three arrays (P,) int64 with one entry per pair that shares a pixel: the index of the mask, ascending; the index
        of the other mask, ascending for each mask; and the number of shared pixels.
    """
    # Runs [2, 5) and [9, 12) have the starts [2, 9], and reached = [5, 12] is the greatest end so far. Another run
    # [4, 10) meets runs from the first that reaches beyond 4, which is run 0, up to the last that starts before 10,
    # which is run 1. Between the two there may be shorter runs that have ended before: they share nothing.
    order = np.argsort(masks.starts, kind='stable')
    # A last run behind all others, which nothing meets, ends every search.
    starts, ends = np.append(masks.starts[order], _FAR), masks.ends[order]
    reached, mask_of_run = np.maximum.accumulate(ends), groups_of(masks.n_runs)[order]
    other_of_run, columns = groups_of(others.n_runs), [np.zeros((3, 0), np.int64)]
    for begin in range(0, len(others.starts), _RUNS_AT_ONCE):
        some = slice(begin, begin + _RUNS_AT_ONCE)
        other, other_starts, other_ends = other_of_run[some], others.starts[some], others.ends[some]
        run = np.searchsorted(reached, other_starts, 'right')
        while len(near := np.flatnonzero(starts[run] < other_ends)):
            run, other, other_starts, other_ends = run[near], other[near], other_starts[near], other_ends[near]
            shared_px = np.minimum(ends[run], other_ends) - np.maximum(starts[run], other_starts)
            shared = np.flatnonzero(shared_px > 0)
            columns.append(np.stack([mask_of_run[run[shared]], other[shared], shared_px[shared]]))
            run = run + 1
    mask, other, shared_px = np.concatenate(columns, axis=1)
    # The runs that two masks share mostly come one after the other. They are added up before the pairs are sorted.
    begins = begins_of_runs(mask, other)
    sums = sums_of_groups(shared_px, np.diff(begins, append=len(mask)))
    return sums_of_pairs(mask[begins], other[begins], sums, (len(masks), len(others)))
