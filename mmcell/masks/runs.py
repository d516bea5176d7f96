"""Masks of instances as runs of pixels of a whole image, so that moving, comparing and uniting them is cheap.

The cost depends on the number of runs, or on the pixels of the masks, never on the pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mmcell.masks.rle import decode_to_runs, encode_runs, extents_of_runs
from mmcell.ragged import (
    elements_of,
    groups_of,
    index_in_group,
    offsets_of,
    sums_of_groups,
    sums_of_pairs,
)


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
        # Three masks of a part 2 px high, 3 px wide, with the counts [1, 3, 2], [6] and [0, 1, 4, 1] have the runs
        # [1, 4), [0, 1) and [5, 6), which belong to the masks [0, 2, 2].
        starts, ends, n_runs = decode_to_runs(rles)
        mask = groups_of(n_runs)
        part_sizes = (rects[:, 2:] - rects[:, :2])[:, ::-1]
        for i in np.flatnonzero((np.array([rle['size'] for rle in rles]).reshape(-1, 2) != part_sizes).any(axis=1))[:1]:
            raise ValueError(f"a mask has size {list(rles[i]['size'])}, the image {part_sizes[i].tolist()} "
                             '(height, width); both must be equal')
        # A run that goes on into the next column is cut there. [1, 4) covers the columns 0 and 1: n_columns =
        # [2, 1, 1], run = [0, 0, 1, 2], x = [0, 1, 0, 2], y from [1, 0, 0, 1] to [2, 2, 1, 2]. With the corner of the
        # part at (x, y) = (4, 2) in an image of height 10, the columns begin at [42, 52, 42, 62]: starts are
        # [43, 52, 42, 63].
        part_height = part_sizes[mask, 0]
        first_x = starts // part_height
        n_columns = (ends - 1) // part_height - first_x + 1
        run = groups_of(n_columns)
        x, mask, part_height = first_x[run] + index_in_group(n_columns), mask[run], part_height[run]
        y_start = np.maximum(starts[run] - x * part_height, 0)
        y_end = np.minimum(ends[run] - x * part_height, part_height)
        column = (x + rects[mask, 0]) * height + rects[mask, 1]
        return cls(column + y_start, column + y_end, sums_of_groups(n_columns, n_runs), height, width)

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
    order, other_order = (np.argsort(each.starts, kind='stable') for each in (masks, others))
    starts, ends = masks.starts[order], masks.ends[order]
    other_starts, other_ends = others.starts[other_order], others.ends[other_order]
    first = np.searchsorted(np.maximum.accumulate(ends), other_starts, 'right')
    n_near = np.maximum(np.searchsorted(starts, other_ends, 'left') - first, 0)
    other_run = groups_of(n_near)
    run = first[other_run] + index_in_group(n_near)
    shared_px = np.minimum(ends[run], other_ends[other_run]) - np.maximum(starts[run], other_starts[other_run])
    is_shared = shared_px > 0
    return sums_of_pairs(groups_of(masks.n_runs)[order[run[is_shared]]],
                         groups_of(others.n_runs)[other_order[other_run[is_shared]]], shared_px[is_shared],
                         (len(masks), len(others)))
