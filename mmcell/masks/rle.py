"""Converts label maps and runs of pixels to COCO run-length encodings (RLE) and back, all instances in one pass.

A run is given by its start and its end, one past its last pixel. Positions count down the columns of the image: pixel
(y, x) has the position x * height + y. RLE knows no columns, so that a run may go on from one column into the next.
Runs of N instances come instance after instance, as in :mod:`mmcell.ragged`.

The time is proportional to the number of pixels and runs. No array of the size instances x height x width is made.
The format of an RLE is described in :mod:`mmcell.masks.rle_counts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.masks.rle_counts import compress_counts, parse_runs
from mmcell.ragged import begins_of, begins_of_runs, index_in_group, offsets_of, reduce_groups, sums_of_groups


@dataclass(frozen=True)
class EncodedInstances:
    """The N instances of one label map, in the order of ascending ids.

    Attributes:
        ids: (N,) int64, the ids that occur in the map, without the background's 0.
        rles: N dicts ``{'size': [height, width], 'counts': str}``: compressed COCO RLE.
        areas_px: (N,) int64, the number of pixels per instance.
        bboxes_xywh: (N, 4) int64, tight boxes in px: x and y of the first pixel, then width and height, as
            ``pycocotools.mask.toBbox`` gives them.
    """

    ids: np.ndarray
    rles: list[dict]
    areas_px: np.ndarray
    bboxes_xywh: np.ndarray

    @classmethod
    def from_rles(cls, rles: Sequence[dict]) -> 'EncodedInstances':
        """Returns N masks as instances with the ids 1 to N; they may overlap, and have one size."""
        return cls(np.arange(1, len(rles) + 1), list(rles), areas_px(rles), bboxes_xywh(rles))

    def take(self, index: np.ndarray) -> 'EncodedInstances':
        """Returns the instances that (K,) integers or (N,) bool name, in the order of the index."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        return EncodedInstances(self.ids[index], [self.rles[place] for place in index], self.areas_px[index],
                                self.bboxes_xywh[index])


def encode_label_map(label_map: np.ndarray) -> EncodedInstances:
    """Encodes every instance of a label map.

    Args:
        label_map: (H, W) integers or bool, 0 = background. Ids may have gaps. Separate pieces with the same id are one
            instance.

    Returns:
        The instances of the map. A map without cells gives no instance.

    Raises:
        ValueError: The array is not two-dimensional, is not of integers, or has negative ids.
    """
    if label_map.ndim != 2 or label_map.dtype.kind not in 'iub':
        raise ValueError(f'a label map must be an array (H, W) of integers, got {label_map.shape} {label_map.dtype}')
    # The map [[1, 2, 1, 0], [1, 2, 0, 0]] has the pixels [1, 1, 2, 2, 1, 0, 0, 0] and the runs [0, 2), [2, 4), [4, 5)
    # and [5, 8) with the labels [1, 2, 1, 0]. Without the background and sorted by label, which keeps the order of
    # positions within a label, they are [0, 2), [4, 5) and [2, 4) with the labels [1, 1, 2]: n_runs = [2, 1].
    height, width = label_map.shape
    pixels = label_map.ravel(order='F')
    starts = begins_of_runs(pixels)
    ends = starts + np.diff(starts, append=pixels.size)
    labels = pixels[starts].astype(np.int64)
    if labels.min(initial=0) < 0:
        raise ValueError(f'instance ids must be positive (0 is background), got {labels.min()}')
    order = np.flatnonzero(labels)
    order = order[np.argsort(labels[order], kind='stable')]
    labels, starts, ends = labels[order], starts[order], ends[order]
    first_run = begins_of_runs(labels)
    n_runs = np.diff(first_run, append=len(labels))
    return EncodedInstances(
        labels[first_run], encode_runs(starts, ends, n_runs, height, width),
        sums_of_groups(ends - starts, n_runs), _xyxy_to_xywh(extents_of_runs(starts, ends, n_runs, height)))


def encode_runs(starts: np.ndarray, ends: np.ndarray, n_runs: np.ndarray, height: int, width: int) -> list[dict]:
    """Encodes instances that are given by their runs of pixels.

    Args:
        starts: (R,) int64, the first position of each run, instance after instance in ascending order. The runs of one
            instance do not overlap.
        ends: (R,) int64, one past the last position of each run.
        n_runs: (N,) int64, the number of runs per instance; 0 for an instance without a pixel.
        height: Height of the image in px.
        width: Width of the image in px.

    Returns:
        N compressed RLEs with counts as str.
    """
    # Runs of an instance that touch are joined, for example one that ends at the bottom of a column and one that begins
    # at the top of the next column. In an image of height 4, the runs [4, 8), [8, 12) and [20, 21) of an instance have
    # goes_on = [False, True, False, False]: the run before goes on. Starts without the continued ones are [4, 20], ends
    # of the last in each chain [12, 21].
    goes_on = np.zeros(len(starts) + 1, bool)
    goes_on[1:-1] = starts[1:] == ends[:-1]
    goes_on[begins_of(n_runs)] = False
    is_first = ~goes_on[:-1]
    starts, ends, n_runs = starts[is_first], ends[~goes_on[1:]], sums_of_groups(is_first, n_runs)
    # In an image of 8 pixels let instance 0 have the runs [0, 2) and [4, 8), instance 1 none, and instance 2 the run
    # [2, 4). The borders between runs and background, up to the end of the image, are [0, 2, 4, 8, 8], [8] and
    # [2, 4, 8]; their differences, which begin anew with each instance, are [0, 2, 2, 4, 0], [8] and [2, 2, 4]. The 0
    # behind the last run of instance 0 is left out.
    borders = np.insert(np.stack([starts, ends], axis=1).ravel(), 2 * offsets_of(n_runs)[1:], height * width)
    n_counts = 2 * n_runs + 1
    counts, offsets = np.diff(borders, prepend=0), offsets_of(n_counts)
    first, last = offsets[:-1], offsets[1:] - 1
    counts[first] = borders[first]
    is_kept = np.ones(len(counts), bool)
    is_kept[last] = (counts[last] > 0) | (n_runs == 0)
    return [{'size': [height, width], 'counts': text}
            for text in compress_counts(counts[is_kept], sums_of_groups(is_kept, n_counts))]


def extents_of_runs(starts: np.ndarray, ends: np.ndarray, n_runs: np.ndarray,
                    height: int | np.ndarray) -> np.ndarray:
    """Returns the tight boxes of N instances.

    Args:
        starts: (R,) int64, the first position of each run.
        ends: (R,) int64, one past the last position of each run.
        n_runs: (N,) int64, the number of runs per instance.
        height: The height in px of all images, or (R,) that of the image of each run.

    Returns:
        (N, 4) int64 xyxy in px; x2 and y2 are one past the last pixel. All four are 0 for an instance without a run.
    """
    # In an image of height 3 the run [1, 4) has the pixels (y, x) = (1, 0), (2, 0) and (0, 1). It goes on from column 0
    # into column 1, therefore touches the bottom and the top, and its box has the whole height: [0, 0, 2, 3].
    x_first, y_first = np.divmod(starts, height)
    x_last, y_last = np.divmod(ends - 1, height)
    spans_columns = x_last > x_first
    y_begin, y_end = np.where(spans_columns, 0, y_first), np.where(spans_columns, height, y_last + 1)
    return np.stack([reduce_groups(np.minimum, x_first, n_runs), reduce_groups(np.minimum, y_begin, n_runs),
                     reduce_groups(np.maximum, x_last + 1, n_runs), reduce_groups(np.maximum, y_end, n_runs)], axis=1)


def _xyxy_to_xywh(bboxes_xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate([bboxes_xyxy[:, :2], bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]], axis=1)


def foreground_pixels_of_all(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of N instances.

    Args:
        rles: N RLEs, which may differ in size.

    Returns:
        (sum of areas,) int64, the positions of the pixels, one instance after another and in ascending order; and (N,)
        int64, the areas in px.

    Raises:
        ValueError: An RLE is not valid.
    """
    # The runs [1, 3), [5, 6) and [0, 1) have starts [1, 5, 0] and lengths [2, 1, 1]. Repeated by the lengths and
    # counted on within each run this gives the positions [1, 2, 5, 0].
    starts, ends, n_runs, _ = parse_runs(rles)
    lengths = ends - starts
    return np.repeat(starts, lengths) + index_in_group(lengths), sums_of_groups(lengths, n_runs)


def areas_px(rles: Sequence[dict]) -> np.ndarray:
    """Returns the number of pixels of each of N instances, (N,) int64, in one pass over all RLEs."""
    starts, ends, n_runs, _ = parse_runs(rles)
    return sums_of_groups(ends - starts, n_runs)


def bboxes_xywh(rles: Sequence[dict]) -> np.ndarray:
    """Returns the tight boxes of N instances, (N, 4) int64 xywh in px, in one pass over all RLEs.

    They are those of ``pycocotools.mask.toBbox``, which is wrong for RLEs with runs of length 0. The box of an instance
    without pixels is 0, 0, 0, 0.

    Args:
        rles: N RLEs, which may differ in size.

    Raises:
        ValueError: An RLE is not valid.
    """
    starts, ends, n_runs, sizes = parse_runs(rles)
    return _xyxy_to_xywh(extents_of_runs(starts, ends, n_runs, np.repeat(sizes[:, 0], n_runs)))
