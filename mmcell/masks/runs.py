"""Masks of instances as runs of pixels of a whole image, so that moving, comparing and uniting them is cheap.

The cost depends on the number of runs, or on the pixels of the masks, never on the pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from mmcell.masks.rle import decode_to_runs, encode_runs

# The number of pixels of masks that are written out one by one at the same time. It bounds the memory.
_MAX_PIXELS = 1 << 20


@dataclass(frozen=True)
class MaskRuns:
    """N masks in one image.

    Example: in an image of height 10, a mask with the pixels (y, x) = (3, 4), (2, 5) and (3, 5), an empty mask, and a
    mask with the pixels (2, 4) and (3, 6) have starts [43, 52, 42, 63], ends [44, 54, 43, 64], offsets [0, 2, 2, 4].

    Attributes:
        starts: (R,) int64, the first position of each run. Pixel (y, x) has the position x * height + y. A run lies in
            one column. The runs of a mask are in ascending order and do not overlap.
        ends: (R,) int64, one past the last position of each run.
        offsets: (N + 1,) int64. Mask i has the runs ``offsets[i]`` to ``offsets[i + 1] - 1``.
        height: Height of the image in px.
    """

    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    height: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def mask_of_run(self) -> np.ndarray:
        """Index (R,) int64 of the mask that each run belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def areas_px(self) -> np.ndarray:
        """Areas (N,) int64 of the masks in px."""
        # In the example above the runs have the lengths [1, 2, 1, 1], and the sums before each run and at the end are
        # [0, 1, 3, 4, 5]. At the offsets [0, 2, 2, 4] they are [0, 3, 3, 5], hence the areas [3, 0, 2].
        covered = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return np.diff(covered[self.offsets])

    @property
    def extents_xyxy(self) -> np.ndarray:
        """Tight boxes (N, 4) int64 xyxy in px; x2 and y2 are one past the last pixel. All are 0 for an empty mask."""
        x, y_start = np.divmod(self.starts, self.height)
        y_end = y_start + self.ends - self.starts
        extents = np.zeros((len(self), 4), np.int64)
        # ``reduceat`` cannot reduce over nothing, so that empty masks must be left out.
        has_runs = np.diff(self.offsets) > 0
        if has_runs.any():
            first = self.offsets[:-1][has_runs]
            extents[has_runs] = np.stack([np.minimum.reduceat(x, first), np.minimum.reduceat(y_start, first),
                                          np.maximum.reduceat(x, first) + 1, np.maximum.reduceat(y_end, first)], axis=1)
        return extents

    def take(self, index: np.ndarray) -> 'MaskRuns':
        """Returns the masks at the indices (K,) of integers, in their order."""
        # Masks 2 and 0 of the example above have 2 runs each, from run 2 and run 0 on. In the result they begin at the
        # offsets [0, 2]. The shifts from old to new, [2 - 0, 0 - 2], are repeated per run, [2, 2, -2, -2], and added to
        # [0, 1, 2, 3]: the runs [2, 3, 0, 1] are taken.
        n_runs = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(n_runs)])
        runs = np.repeat(self.offsets[:-1][index] - offsets[:-1], n_runs) + np.arange(offsets[-1])
        return MaskRuns(self.starts[runs], self.ends[runs], offsets, self.height)

    def areas_inside_px(self, rects_xyxy: np.ndarray) -> np.ndarray:
        """Counts the pixels (N,) int64 of each mask inside its rectangle.

        Args:
            rects_xyxy: (N, 4) int64 in px, one rectangle per mask.
        """
        x, y_start = np.divmod(self.starts, self.height)
        rects = rects_xyxy[self.mask_of_run]
        lengths = (np.minimum(y_start + self.ends - self.starts, rects[:, 3]) - np.maximum(y_start, rects[:, 1]))
        lengths = np.where((x >= rects[:, 0]) & (x < rects[:, 2]), lengths.clip(min=0), 0)
        covered = np.concatenate([[0], np.cumsum(lengths)])
        return np.diff(covered[self.offsets])

    def pixels_inside(self, rect_xyxy: np.ndarray) -> csr_array:
        """Writes out the pixels of the masks inside a rectangle.

        Args:
            rect_xyxy: (4,) int64 in px.

        Returns:
            A sparse matrix (N, pixels of the rectangle) int32, 1 where the mask of the row is. Pixels of the rectangle
            are counted down its columns.
        """
        # The masks of the example above, in the rectangle [4, 2, 6, 4] of 2 x 2 pixels. The runs have
        # [1, 2, 1, 0] pixels inside; the last run is right of it. Within the rectangle they begin at the pixels
        # [1, 2, 0, 5] (the 5 does not matter, as this run has no pixel). Each repeated and counted on: [1, 2, 3, 0].
        # Sums of pixels at the offsets, [0, 3, 3, 4], give the rows [0, 1, 1, 1], [0, 0, 0, 0] and [1, 0, 0, 0].
        x0, y0, x1, y1 = (int(value) for value in rect_xyxy)
        x, y_start = np.divmod(self.starts, self.height)
        y_end = np.minimum(y_start + self.ends - self.starts, y1)
        y_start = np.maximum(y_start, y0)
        lengths = np.where((x >= x0) & (x < x1), (y_end - y_start).clip(min=0), 0)
        ends = np.cumsum(lengths)
        first = (x - x0) * (y1 - y0) + y_start - y0
        pixels = np.repeat(first - (ends - lengths), lengths) + np.arange(lengths.sum())
        return csr_array((np.ones(len(pixels), np.int32), pixels, np.concatenate([[0], ends])[self.offsets]),
                         shape=(len(self), (x1 - x0) * (y1 - y0)))

    def unite(self, groups: np.ndarray) -> 'MaskRuns':
        """Returns one mask per group, with the pixels of all masks of the group.

        Args:
            groups: (N,) int64, the group of each mask. Groups are numbered from 0 without gaps.
        """
        # In an image of height 10, three masks with the runs [12, 16), [14, 18), and [18, 20) with [20, 23). Groups
        # [0, 0, 1] have the images shifted by [0, 40] (pitch 40), so that runs of different groups do not meet:
        # starts [12, 14, 58, 60], greatest ends so far [16, 18, 60, 63]. A united run begins where a start is beyond
        # the ends so far, or in a new column, as 60 is: begins = [1, 0, 1, 1]. It stops before the next begins:
        # stops = [0, 1, 1, 1]. Shifted back, the runs are [12, 18), [18, 20) and [20, 23), with offsets [0, 1, 3].
        run_groups = groups[self.mask_of_run]
        order = np.lexsort((self.starts, run_groups))
        n_groups = int(groups.max()) + 1 if len(groups) else 0
        pitch = (int(self.ends.max(initial=0)) // self.height + 2) * self.height
        shift = run_groups[order] * pitch
        starts, ends = self.starts[order] + shift, np.maximum.accumulate(self.ends[order] + shift)
        begins = np.ones(len(starts), bool)
        begins[1:] = (starts[1:] > ends[:-1]) | ((starts[1:] == ends[:-1]) & (starts[1:] % self.height == 0))
        stops = np.append(begins[1:], True) if len(begins) else begins
        shift = shift[begins]
        offsets = np.searchsorted(run_groups[order][begins], np.arange(n_groups + 1))
        return MaskRuns(starts[begins] - shift, ends[stops] - shift, offsets, self.height)

    def to_rles(self, width: int) -> list[dict]:
        """Returns N compressed COCO RLEs (counts as str) of the whole image, which is ``width`` px wide."""
        return encode_runs(self.starts, self.ends, np.diff(self.offsets), self.height, width)


def runs_of_rles(rles: Sequence[dict], origin_xy: tuple[int, int], height: int) -> MaskRuns:
    """Moves masks that were predicted in a part of an image into the whole image.

    Args:
        rles: N COCO RLEs, all of the size of the part.
        origin_xy: x and y of the part's upper left corner in the image, in px.
        height: Height of the image in px.

    Returns:
        The N masks in the whole image.

    Raises:
        ValueError: An RLE is not valid (see :func:`mmcell.masks.rle_counts.parse_rle`).
    """
    if not rles:
        return MaskRuns(*(np.zeros(n, np.int64) for n in (0, 0, 1)), height)
    # Three masks of a part 2 px high, 3 px wide, with the counts [1, 3, 2], [6] and [0, 1, 4, 1] have the runs [1, 4),
    # [0, 1) and [5, 6), which belong to the masks [0, 2, 2].
    part_height = int(rles[0]['size'][0])
    starts, ends, n_runs = decode_to_runs(rles)
    mask_of_run = np.repeat(np.arange(len(rles)), n_runs)
    # A run that goes on into the next column is cut there. [1, 4) covers the columns 0 and 1: n_columns = [2, 1, 1],
    # run = [0, 0, 1, 2], x = [0, 1, 0, 2], y from [1, 0, 0, 1] to [2, 2, 1, 2]. With the corner of the part at
    # (x, y) = (4, 2) in an image of height 10, the columns begin at [42, 52, 42, 62]: starts are [43, 52, 42, 63].
    first_x, last_x = starts // part_height, (ends - 1) // part_height
    n_columns = last_x - first_x + 1
    run = np.repeat(np.arange(len(starts)), n_columns)
    x = first_x[run] + np.arange(len(run)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    y_start = np.maximum(starts[run] - x * part_height, 0)
    y_end = np.minimum(ends[run] - x * part_height, part_height)
    column = (x + origin_xy[0]) * height + origin_xy[1]
    offsets = np.searchsorted(mask_of_run[run], np.arange(len(rles) + 1))
    return MaskRuns(column + y_start, column + y_end, offsets, height)


def concatenate_runs(first: MaskRuns, second: MaskRuns) -> MaskRuns:
    """Returns the masks of both arguments, which must lie in the same image."""
    return MaskRuns(np.concatenate([first.starts, second.starts]), np.concatenate([first.ends, second.ends]),
                    np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]), first.height)


def intersections_px(masks: MaskRuns, others: MaskRuns, rect_xyxy: np.ndarray) -> tuple[np.ndarray, ...]:
    """Counts the pixels that each mask of one set shares with each mask of another set, inside a rectangle.

    The cost depends on the pixels of the masks, and on the number of pairs of masks that meet at each pixel.

    Args:
        masks: N masks.
        others: M masks in the same image.
        rect_xyxy: (4,) int64, the rectangle in px.

    Returns:
        Three arrays (P,) int64 with one entry per pair that shares a pixel: the index of the mask, the index of the
        other mask, and the number of shared pixels.
    """
    pairs = [np.zeros((3, 0), np.int64)]
    for part in _split_by_area(masks):
        pixels = masks.take(part).pixels_inside(rect_xyxy)
        for other_part in _split_by_area(others):
            # Rows of zeros and ones: the product of two rows is the number of pixels where both are 1.
            shared = coo_array(pixels @ others.take(other_part).pixels_inside(rect_xyxy).T)
            pairs.append(np.stack([part[shared.row], other_part[shared.col], shared.data]).astype(np.int64))
    return tuple(np.concatenate(pairs, axis=1))


def _split_by_area(masks: MaskRuns) -> list[np.ndarray]:
    """Splits the indices of masks into parts, so that a part has about ``_MAX_PIXELS`` pixels, or a single mask."""
    part = np.cumsum(masks.areas_px) // _MAX_PIXELS
    return np.split(np.arange(len(masks)), np.flatnonzero(np.diff(part)) + 1) if len(masks) else []
