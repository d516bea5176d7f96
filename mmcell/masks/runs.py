"""Masks of instances as runs of pixels of a whole image: to move, compare and unite them at the cost of the runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from mmcell.masks.rle import encode_runs, parse_rles

# Pixels of masks that are spread out at a time: a bound on memory.
_MAX_PIXELS = 1 << 20


@dataclass(frozen=True)
class MaskRuns:
    """N masks in an image of a given height.

    Attributes:
        starts, ends: (R,) int64, first and one-past-last position of each run, x * height + y; a run is in one column.
            The runs of a mask are in ascending order and do not overlap.
        offsets: (N + 1,) int64; mask i has the runs ``offsets[i]:offsets[i + 1]``.
        height: of the image in px.
    """

    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    height: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> np.ndarray:
        """The mask (R,) of each run."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def areas_px(self) -> np.ndarray:
        """(N,) int64."""
        covered = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return np.diff(covered[self.offsets])

    @property
    def extents_xyxy(self) -> np.ndarray:
        """(N, 4) int64 tight boxes, the last pixel included; of an empty mask all 0."""
        x, y_start = np.divmod(self.starts, self.height)
        y_end = y_start + self.ends - self.starts
        extents = np.zeros((len(self), 4), np.int64)
        has_runs = np.diff(self.offsets) > 0
        if has_runs.any():
            first = self.offsets[:-1][has_runs]
            extents[has_runs] = np.stack([np.minimum.reduceat(x, first), np.minimum.reduceat(y_start, first),
                                          np.maximum.reduceat(x, first) + 1, np.maximum.reduceat(y_end, first)], axis=1)
        return extents

    def take(self, index: np.ndarray) -> 'MaskRuns':
        """The masks at an index (K,) of integers, in its order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        runs = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return MaskRuns(self.starts[runs], self.ends[runs], offsets, self.height)

    def areas_inside_px(self, rects_xyxy: np.ndarray) -> np.ndarray:
        """Pixels (N,) int64 of each mask in a rectangle of its own (N, 4) int64."""
        x, y_start = np.divmod(self.starts, self.height)
        rects = rects_xyxy[self.owners]
        lengths = (np.minimum(y_start + self.ends - self.starts, rects[:, 3]) - np.maximum(y_start, rects[:, 1]))
        lengths = np.where((x >= rects[:, 0]) & (x < rects[:, 2]), lengths.clip(min=0), 0)
        covered = np.concatenate([[0], np.cumsum(lengths)])
        return np.diff(covered[self.offsets])

    def pixels_inside(self, rect_xyxy: np.ndarray) -> csr_array:
        """(N, pixels of a rectangle (4,)) int32, 1 where a mask is."""
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
        """One mask for each group: the pixels of any mask of that group.

        Args:
            groups: (N,) int64, the group of each mask, from 0 without gaps.
        """
        run_groups = groups[self.owners]
        order = np.lexsort((self.starts, run_groups))
        n_groups = int(groups.max()) + 1 if len(groups) else 0
        # One number line, one image after another, so that runs of different groups do not meet.
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
        """N compressed COCO RLEs (counts str) of the whole image."""
        return encode_runs(self.owners, self.starts, self.ends, len(self), self.height, width)


def runs_of_rles(rles: Sequence[dict], origin_xy: tuple[int, int], height: int) -> MaskRuns:
    """Runs in a whole image of masks that were predicted in a part of it.

    Args:
        rles: N COCO RLEs of the size of the part.
        origin_xy: upper left corner of the part in the image, in px.
        height: of the image.
    """
    if not rles:
        return MaskRuns(*(np.zeros(n, np.int64) for n in (0, 0, 1)), height)
    part_height = int(rles[0]['size'][0])
    counts, n_counts = parse_rles(rles)
    first = np.cumsum(n_counts) - n_counts
    bounds = np.cumsum(counts)
    bounds -= np.repeat(bounds[first] - counts[first], n_counts)
    is_inside = (np.arange(len(counts)) - np.repeat(first, n_counts)) % 2 == 1
    is_inside &= counts > 0
    starts, ends = bounds[is_inside] - counts[is_inside], bounds[is_inside]
    owners = np.repeat(np.arange(len(rles)), n_counts)[is_inside]
    # A run that goes on in the next column is cut there.
    first_x, last_x = starts // part_height, (ends - 1) // part_height
    n_columns = last_x - first_x + 1
    run = np.repeat(np.arange(len(starts)), n_columns)
    x = first_x[run] + np.arange(len(run)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    y_start = np.maximum(starts[run] - x * part_height, 0)
    y_end = np.minimum(ends[run] - x * part_height, part_height)
    column = (x + origin_xy[0]) * height + origin_xy[1]
    offsets = np.searchsorted(owners[run], np.arange(len(rles) + 1))
    return MaskRuns(column + y_start, column + y_end, offsets, height)


def concatenate_runs(first: MaskRuns, second: MaskRuns) -> MaskRuns:
    """The masks of both, which are in one image."""
    return MaskRuns(np.concatenate([first.starts, second.starts]), np.concatenate([first.ends, second.ends]),
                    np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]), first.height)


def intersections_px(masks: MaskRuns, others: MaskRuns, rect_xyxy: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pixels that masks of one set share with those of another, inside a rectangle.

    The cost is that of the pixels and, for each of these, the pairs that meet there.

    Args:
        masks, others: N and M, in one image.
        rect_xyxy: (4,) int64.

    Returns:
        mask, other, shared: (P,) int64 each, one entry for each pair that shares a pixel.
    """
    found = [np.zeros((3, 0), np.int64)]
    for part in _split_by_area(masks):
        pixels = masks.take(part).pixels_inside(rect_xyxy)
        for other_part in _split_by_area(others):
            shared = coo_array(pixels @ others.take(other_part).pixels_inside(rect_xyxy).T)
            found.append(np.stack([part[shared.row], other_part[shared.col], shared.data]).astype(np.int64))
    return tuple(np.concatenate(found, axis=1))


def _split_by_area(masks: MaskRuns) -> list[np.ndarray]:
    """Indices of masks, in parts of a bounded number of pixels."""
    part = np.cumsum(masks.areas_px) // _MAX_PIXELS
    return np.split(np.arange(len(masks)), np.flatnonzero(np.diff(part)) + 1) if len(masks) else []
