"""Masks of instances as runs of pixels of a whole image: to move, compare and unite them at the cost of the runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.rle import encode_runs, parse_rles


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


def intersections_px(masks: MaskRuns, others: MaskRuns) -> np.ndarray:
    """Pixels (N,) int64 that mask i and other i share; N masks each, in one image."""
    pitch = int(others.ends.max(initial=0)) + int(masks.ends.max(initial=0)) + 1
    keys = others.owners * pitch + others.starts
    covered = np.concatenate([[0], np.cumsum(others.ends - others.starts)])

    def covered_before(positions: np.ndarray) -> np.ndarray:
        """Pixels of all other masks up to a position in the one that belongs to the run."""
        runs = np.searchsorted(keys, masks.owners * pitch + positions)
        last_end = np.where(runs > others.offsets[masks.owners], np.append(others.ends, 0)[runs - 1], 0)
        return covered[runs] - (last_end - positions).clip(min=0)

    shared = covered_before(masks.ends) - covered_before(masks.starts)
    return np.diff(np.concatenate([[0], np.cumsum(shared)])[masks.offsets])
