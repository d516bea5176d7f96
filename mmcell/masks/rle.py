"""Label maps to COCO run-length encoding and back, all instances in one pass over the pixels.

The format is that of ``pycocotools`` (``common/maskApi.c``): the mask is read column by column, run lengths
alternate between background and instance, starting with background. In the compressed form each run length
from the fourth on is stored as its difference from the one two before it, in groups of five bits, low group first;
bit 5 of a character says that more groups follow, and 48 is added to make it printable.

The time is proportional to the pixels and the runs; nothing of the size instances x height x width is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CHAR_OFFSET = 48
_MORE = 0x20
_SIGN = 0x10
# Thirteen groups of five bits hold any int64. More cannot be a run length.
_MAX_GROUPS = 13
# The product of two such sides is still an int64.
_MAX_SIDE = 2**31 - 1


@dataclass(frozen=True)
class EncodedInstances:
    """The instances of one label map, by ascending id.

    Attributes:
        ids: (N,) int64, the ids found in the map, background left out.
        rles: N dicts ``{'size': [height, width], 'counts': str}``, compressed COCO RLE.
        areas_px: (N,) int64, pixels of each instance.
        bboxes_xywh: (N, 4) int64, pixel-inclusive boxes as ``pycocotools.mask.toBbox`` gives them.
    """

    ids: np.ndarray
    rles: list[dict]
    areas_px: np.ndarray
    bboxes_xywh: np.ndarray


def encode_label_map(label_map: np.ndarray) -> EncodedInstances:
    """Encodes every instance of a label map.

    Args:
        label_map: (H, W) integers, 0 = background; ids need not be contiguous, and an id may have several
            components: it is still one instance.

    Raises:
        ValueError: the array is not two-dimensional, not of integers, or has negative ids.
    """
    if label_map.ndim != 2 or label_map.dtype.kind not in 'iub':
        raise ValueError(f'a label map is (H, W) integers, got {label_map.shape} {label_map.dtype}')
    height, width = label_map.shape
    labels, starts, ends = _column_major_runs(label_map)
    if len(labels) and labels.min() < 0:
        raise ValueError(f'instance ids are positive, got {labels.min()}')
    order = np.argsort(labels, kind='stable')
    labels, starts, ends = labels[order], starts[order], ends[order]
    first_run = np.flatnonzero(np.diff(labels, prepend=-1)) if len(labels) else np.zeros(0, np.int64)
    ids = labels[first_run]
    if len(ids) == 0:
        return EncodedInstances(ids, [], np.zeros(0, np.int64), np.zeros((0, 4), np.int64))
    counts, n_counts = _run_lengths(starts, ends, first_run, height * width)
    rles = [{'size': [height, width], 'counts': text} for text in compress_counts(counts, n_counts)]
    return EncodedInstances(
        ids, rles, np.add.reduceat(ends - starts, first_run), _bboxes_of_runs(starts, ends, first_run, height))


def encode_runs(instances: np.ndarray, starts: np.ndarray, ends: np.ndarray, n_instances: int, height: int,
                width: int) -> list[dict]:
    """Encodes instances that are given by their runs of pixels.

    Args:
        instances: (R,) int64, the instance of each run, from 0; in any order, and some may have no run.
        starts: (R,) int64, first positions, counted down the columns of the image. Runs of an instance do not overlap.
        ends: (R,) int64, one-past-last positions.
        n_instances: N.
        height: of the image in px.
        width: of the image in px.

    Returns:
        N compressed RLEs with counts as str.
    """
    order = np.lexsort((starts, instances))
    instances, starts, ends = instances[order], starts[order], ends[order]
    # A run to the foot of a column and one from the head of the next are one.
    goes_on = np.zeros(len(starts), bool)
    goes_on[1:] = (instances[1:] == instances[:-1]) & (starts[1:] == ends[:-1])
    ends = ends[np.append(~goes_on[1:], True)] if len(ends) else ends
    instances, starts = instances[~goes_on], starts[~goes_on]
    rles = [{'size': [height, width], 'counts': text}
            for text in compress_counts(np.array([height * width]), np.array([1]))] * n_instances
    first_run = np.flatnonzero(np.diff(instances, prepend=-1))
    if len(first_run):
        counts, n_counts = _run_lengths(starts, ends, first_run, height * width)
        for instance, text in zip(instances[first_run].tolist(), compress_counts(counts, n_counts), strict=True):
            rles[instance] = {'size': [height, width], 'counts': text}
    return rles


def _column_major_runs(label_map: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, first and one-past-last positions of the runs of equal non-zero pixels, (R,) int64 each."""
    pixels = label_map.ravel(order='F')
    bounds = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], bounds]) if pixels.size else np.zeros(0, np.int64)
    ends = np.append(bounds, pixels.size) if pixels.size else np.zeros(0, np.int64)
    labels = pixels[starts].astype(np.int64)
    inside = labels != 0
    return labels[inside], starts[inside], ends[inside]


def _run_lengths(starts: np.ndarray, ends: np.ndarray, first_run: np.ndarray,
                 n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths of all instances one after another, and how many belong to each instance.

    Runs are sorted by instance, then by position; ``first_run`` (N,) says where each instance begins.
    """
    gaps = starts - np.concatenate([[0], ends[:-1]])
    gaps[first_run] = starts[first_run]
    lengths = np.stack([gaps, ends - starts], axis=1).ravel()
    n_runs = np.diff(np.append(first_run, len(starts)))
    last_end = ends[first_run + n_runs - 1]
    has_tail = last_end < n_pixels
    tail_positions = 2 * (first_run + n_runs)[has_tail]
    return np.insert(lengths, tail_positions, n_pixels - last_end[has_tail]), 2 * n_runs + has_tail


def _bboxes_of_runs(starts: np.ndarray, ends: np.ndarray, first_run: np.ndarray, height: int) -> np.ndarray:
    """Pixel-inclusive xywh boxes (N, 4); a run that goes round into a next column spans the whole height."""
    x_first, y_first = np.divmod(starts, height)
    x_last, y_last = np.divmod(ends - 1, height)
    goes_round = x_last > x_first
    x_min = np.minimum.reduceat(x_first, first_run)
    x_max = np.maximum.reduceat(x_last, first_run)
    y_min = np.minimum.reduceat(np.where(goes_round, 0, y_first), first_run)
    y_max = np.maximum.reduceat(np.where(goes_round, height - 1, y_last), first_run)
    return np.stack([x_min, y_min, x_max - x_min + 1, y_max - y_min + 1], axis=1)


def compress_counts(counts: np.ndarray, n_counts: np.ndarray) -> list[str]:
    """Compresses run lengths to the strings of COCO RLE.

    Args:
        counts: (sum of n_counts,) int64, the run lengths of N instances one after another.
        n_counts: (N,) int64, how many belong to each.
    """
    values = counts.copy()
    values[2:] -= counts[:-2]
    # The first three run lengths of an instance are stored as they are.
    index_in_instance = _index_in_group(n_counts)
    values[index_in_instance < 3] = counts[index_in_instance < 3]
    groups, n_groups = _to_five_bit_groups(values)
    text = (groups + _CHAR_OFFSET).tobytes().decode('ascii')
    groups_before = np.concatenate([[0], np.cumsum(n_groups)])
    ends = groups_before[np.cumsum(n_counts)]
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _index_in_group(sizes: np.ndarray) -> np.ndarray:
    """0, 1, … within each of the consecutive groups of the given sizes."""
    begins = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) - np.repeat(begins, sizes)


def _to_five_bit_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All groups (uint8, with the continuation bit) in order, and the number of groups of each value."""
    columns, n_groups = [], np.zeros(len(values), np.int64)
    rest, open_ = values, np.ones(len(values), bool)
    while open_.any():
        group = rest & 0x1f
        rest = rest >> 5
        more = open_ & np.where(group & _SIGN, rest != -1, rest != 0)
        columns.append(group | np.where(more, _MORE, 0))
        n_groups += open_
        open_ = more
    table = np.stack(columns, axis=1) if columns else np.zeros((0, 1), np.int64)
    return table[np.arange(table.shape[1]) < n_groups[:, None]].astype(np.uint8), n_groups


def with_text_counts(rle: dict) -> dict:
    """The same compressed RLE with counts as str, as JSON takes it, where pycocotools gives bytes."""
    counts = rle['counts']
    return {'size': list(rle['size']), 'counts': counts.decode() if isinstance(counts, bytes) else counts}


def parse_rle(rle: dict) -> np.ndarray:
    """The run lengths of one RLE, checked.

    Args:
        rle: ``{'size': [height, width], 'counts': …}`` with counts a compressed str or bytes, or a list of ints.

    Returns:
        (n,) int64 run lengths, background first, with the sum height * width.

    Raises:
        ValueError: not an RLE: missing keys, characters out of range, a value cut short, negative run lengths,
            or a sum other than the number of pixels. (``pycocotools`` checks none of this.)
    """
    return parse_rles([rle])[0]


def parse_rles(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """The run lengths of many RLEs one after another (sum of n,) int64, and how many belong to each (N,) int64.

    One pass over all of them; they need not have one size. Raises as :func:`parse_rle`.
    """
    n_pixels = np.array([_checked_n_pixels(rle) for rle in rles], np.int64)
    counts = [rle['counts'] for rle in rles]
    is_text = [isinstance(one, str | bytes) for one in counts]
    runs, n_runs = _decompress([one for one, text in zip(counts, is_text, strict=True) if text])
    if not all(is_text):
        decompressed = iter(np.split(runs, np.cumsum(n_runs)[:-1]))
        pieces = [next(decompressed) if text else _listed_runs(one)
                  for one, text in zip(counts, is_text, strict=True)]
        runs, n_runs = np.concatenate(pieces), np.array([len(piece) for piece in pieces])
    # Each by itself first: the sum of huge ones would go round.
    if ((runs < 0) | (runs > np.repeat(n_pixels, n_runs))).any():
        raise ValueError('RLE has a negative run length, or one longer than its image')
    covered = np.diff(np.concatenate([[0], np.cumsum(runs)])[np.concatenate([[0], np.cumsum(n_runs)])])
    for i in np.flatnonzero(covered != n_pixels)[:1]:
        raise ValueError(f"RLE runs cover {covered[i]} pixels, its size {list(rles[i]['size'])} has {n_pixels[i]}")
    return runs, n_runs


def _checked_n_pixels(rle: dict) -> int:
    if not isinstance(rle, dict) or not {'size', 'counts'} <= rle.keys():
        raise ValueError(f"RLE must be a dict with 'size' and 'counts', got {str(rle)[:60]}")
    size = rle['size']
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(
            isinstance(side, int | np.integer) and 0 <= side <= _MAX_SIDE for side in size):
        raise ValueError(f'RLE size must be [height, width], got {size}')
    return int(size[0]) * int(size[1])


def _listed_runs(counts: Sequence[int]) -> np.ndarray:
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in 'iu'):
        raise ValueError('RLE counts must be a string or a list of integers')
    return runs.astype(np.int64)


def _decompress(texts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths of compressed counts strings one after another, and how many belong to each."""
    try:
        raws = [text.encode('ascii') if isinstance(text, str) else text for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError('RLE counts have a character that is not ASCII') from error
    groups = np.frombuffer(b''.join(raws), np.uint8).astype(np.int64) - _CHAR_OFFSET
    if groups.size == 0:
        return groups, np.zeros(len(texts), np.int64)
    if groups.min() < 0 or groups.max() > 0x3f:
        raise ValueError('RLE counts have a character out of range')
    is_last = groups & _MORE == 0
    text_ends = np.cumsum([len(raw) for raw in raws])
    if not is_last[text_ends[text_ends > 0] - 1].all():
        raise ValueError('RLE counts are cut short')
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    n_groups = last - first + 1
    if n_groups.max() > _MAX_GROUPS - 1:
        raise ValueError('RLE counts hold a number too large for a run length')
    shifts = 5 * _index_in_group(n_groups)
    values = np.add.reduceat((groups & 0x1f) << shifts, first)
    values -= np.where(groups[last] & _SIGN, 1 << (5 * n_groups), 0)
    n_values = np.diff(np.searchsorted(last, text_ends), prepend=0)
    return _sum_differences(values, n_values), n_values


def _sum_differences(values: np.ndarray, n_values: np.ndarray) -> np.ndarray:
    """In each group of values, each from the fourth on is a difference from the one two before it: undoes that."""
    # Two interleaved sums, the columns of a table in which each group starts a new row. The first value, which
    # takes no part, stays out of the sum of its column.
    n_rows = (n_values + 1) // 2
    first_row = np.cumsum(n_rows) - n_rows
    position = 2 * np.repeat(first_row, n_values) + _index_in_group(n_values)
    table = np.zeros((n_rows.sum() + 1, 2), np.int64)
    table[1:].reshape(-1)[position] = values
    firsts = table[first_row[n_rows > 0] + 1, 0]
    table[first_row[n_rows > 0] + 1, 0] = 0
    sums = np.cumsum(table, axis=0)
    sums[1:] -= np.repeat(sums[first_row], n_rows, axis=0)
    sums[first_row[n_rows > 0] + 1, 0] = firsts
    return sums[1:].reshape(-1)[position]


def decode_to_label_map(rles: Sequence[dict], ids: np.ndarray | None = None,
                        size: tuple[int, int] | None = None) -> np.ndarray:
    """Paints instances into one label map; where they overlap the later one is seen.

    Args:
        rles: N RLEs of one size.
        ids: (N,) positive ids, 1 … N where not given.
        size: (height, width), needed only where there is no RLE to tell it.

    Returns:
        (H, W) int32, 0 = background. The time is proportional to H * W plus the pixels covered.

    Raises:
        ValueError: sizes differ, or an RLE is not valid (see :func:`parse_rle`).
    """
    sizes = {tuple(rle['size']) for rle in rles} | ({tuple(size)} if size is not None else set())
    if len(sizes) != 1:
        raise ValueError(f'all RLEs of a label map must have one size, got {sorted(sizes)}')
    height, width = sizes.pop()
    pixels = np.zeros(height * width, np.int32)
    positions, areas = foreground_pixels_of_all(rles)
    # Of several values for one pixel numpy keeps the last.
    pixels[positions] = np.repeat(np.arange(1, len(rles) + 1) if ids is None else ids, areas)
    return pixels.reshape((height, width), order='F')


def foreground_pixels(rle: dict) -> np.ndarray:
    """Column-major positions (area,) int64 of the pixels inside an instance; pixel (y, x) is at x * height + y."""
    return foreground_pixels_of_all([rle])[0]


def foreground_pixels_of_all(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Positions as :func:`foreground_pixels` gives them, of N instances one after another, and areas (N,) int64."""
    runs, n_runs = parse_rles(rles)
    ends = np.cumsum(runs)
    # Positions count from the beginning of each image.
    ends -= np.repeat(np.concatenate([[0], ends])[np.cumsum(n_runs) - n_runs], n_runs)
    is_inside = _index_in_group(n_runs) % 2 == 1
    ends, lengths = ends[is_inside], runs[is_inside]
    positions = np.repeat(ends - lengths, lengths) + _index_in_group(lengths)
    n_inside = n_runs // 2
    areas = np.diff(np.concatenate([[0], np.cumsum(lengths)])[np.concatenate([[0], np.cumsum(n_inside)])])
    return positions, areas


def area_px(rle: dict) -> int:
    """Pixels inside an instance."""
    return int(parse_rle(rle)[1::2].sum())


def areas_px(rles: Sequence[dict]) -> np.ndarray:
    """Pixels inside each of N instances, (N,) int64, in one pass."""
    runs, n_runs = parse_rles(rles)
    inside = np.where(_index_in_group(n_runs) % 2 == 1, runs, 0)
    return np.diff(np.concatenate([[0], np.cumsum(inside)])[np.concatenate([[0], np.cumsum(n_runs)])])
