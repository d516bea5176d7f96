"""Converts label maps to COCO run-length encoding (RLE) and back, all instances in one pass over the pixels.

The format is the one of ``pycocotools`` (``common/maskApi.c``). A mask is read column by column. Run lengths count
the pixels outside and inside the mask in turn, and begin with those outside, which may be 0. In the compressed form,
every run length from the fourth on is replaced by its difference from the run length two places before it. Each value
is then written in groups of five bits, the lowest group first. One group makes one character: 32 is added if more
groups of the same value follow, and 48 is added to make the character printable.

Example: the run lengths 4, 3, 5, 40, 2 become the values 4, 3, 5, 40 - 3 = 37, 2 - 5 = -3. The value 37 = 5 + 1 * 32
needs two groups, 5 and 1, and is written as the characters 5 + 32 + 48 = 85 ('U') and 1 + 48 = 49 ('1'). The value -3
is 29 as a number of five bits with a sign, and 29 + 48 = 77 ('M'). Together: '435U1M'.

The time is proportional to the number of pixels and runs. No array of the size instances x height x width is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CHAR_OFFSET = 48
# The bit of a group that says that more groups of the same value follow.
_MORE = 0x20
# The highest of the five bits. In the last group of a value it says that the value is negative.
_SIGN = 0x10
# Twelve groups of five bits hold the numbers from -2^59 to 2^59 - 1. The shifts for a thirteenth would exceed an int64.
_MAX_GROUPS = 12
# The product of two sides of this length still fits into an int64.
_MAX_SIDE = 2**31 - 1


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
    height, width = label_map.shape
    labels, starts, ends = _column_major_runs(label_map)
    if len(labels) and labels.min() < 0:
        raise ValueError(f'instance ids must be positive (0 is background), got {labels.min()}')
    # The map [[1, 2, 1, 0], [1, 2, 0, 0]] has the runs: labels [1, 2, 1], starts [0, 2, 4], ends [2, 4, 5].
    # Sorted by label, which keeps the order of positions within a label: [1, 1, 2], [0, 4, 2], [2, 5, 4]. Instance 1
    # begins at run 0, and instance 2 at run 2: first_run = [0, 2]. Its areas are [2 + 1, 2] = [3, 2].
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
        instances: (R,) int64, the index of the instance, 0 to N - 1, that each run belongs to. Runs come in any order,
            and an instance may have no run.
        starts: (R,) int64, the first position of each run. Positions count down the columns of the image: pixel
            (y, x) has the position x * height + y. The runs of one instance do not overlap.
        ends: (R,) int64, one past the last position of each run.
        n_instances: The number N of instances.
        height: Height of the image in px.
        width: Width of the image in px.

    Returns:
        N compressed RLEs with counts as str. An instance without a run has an RLE without pixels.
    """
    order = np.lexsort((starts, instances))
    instances, starts, ends = instances[order], starts[order], ends[order]
    # RLE knows no columns: a run that ends at the bottom of a column and a run that begins at the top of the next one
    # are joined. In an image of height 4, the runs [4, 8), [8, 12) and [20, 21) of an instance have goes_on =
    # [False, True, False]. Starts without the continued ones are [4, 20], ends of the last in each chain [12, 21].
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
    """Finds the runs of equal pixels that are not 0, column after column.

    Unlike the runs of an image in :mod:`mmcell.masks.runs`, these may go on from one column into the next.

    Returns:
        The label, the first position and one past the last position of each run, (R,) int64 each.
    """
    # The map [[1, 2, 1, 0], [1, 2, 0, 0]] gives the pixels [1, 1, 2, 2, 1, 0, 0, 0]. They change at bounds [2, 4, 5],
    # so that starts = [0, 2, 4, 5] and ends = [2, 4, 5, 8]. The last stretch is background and is left out.
    pixels = label_map.ravel(order='F')
    bounds = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], bounds]) if pixels.size else np.zeros(0, np.int64)
    ends = np.append(bounds, pixels.size) if pixels.size else np.zeros(0, np.int64)
    labels = pixels[starts].astype(np.int64)
    inside = labels != 0
    return labels[inside], starts[inside], ends[inside]


def _run_lengths(starts: np.ndarray, ends: np.ndarray, first_run: np.ndarray,
                 n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the run lengths outside and inside, in turn, of all instances one after another.

    Args:
        starts: (R,) int64, the first position of each run, sorted by instance, then by position.
        ends: (R,) int64, one past the last position of each run.
        first_run: (N,) int64, the index of each instance's first run. Every instance has a run.
        n_pixels: The number of pixels of the image.

    Returns:
        The run lengths of all instances, int64, and (N,) int64, how many of them belong to each instance.
    """
    # In an image of 8 pixels let instance 0 have the runs [0, 2) and [4, 5), and instance 1 the run [2, 4):
    # starts = [0, 4, 2], ends = [2, 5, 4], first_run = [0, 2]. Gaps to the run before are [0, 2, -3]; an instance's
    # first gap counts from position 0 instead: [0, 2, 2]. Alternating with the lengths [2, 1, 2] this is
    # [0, 2, 2, 1, 2, 2]. The pixels behind the last runs, 8 - 5 = 3 and 8 - 4 = 4, are inserted behind each instance:
    # [0, 2, 2, 1, 3] and [2, 2, 4], which are 5 and 3 run lengths.
    gaps = starts - np.concatenate([[0], ends[:-1]])
    gaps[first_run] = starts[first_run]
    lengths = np.stack([gaps, ends - starts], axis=1).ravel()
    n_runs = np.diff(np.append(first_run, len(starts)))
    last_end = ends[first_run + n_runs - 1]
    has_tail = last_end < n_pixels
    tail_positions = 2 * (first_run + n_runs)[has_tail]
    return np.insert(lengths, tail_positions, n_pixels - last_end[has_tail]), 2 * n_runs + has_tail


def _bboxes_of_runs(starts: np.ndarray, ends: np.ndarray, first_run: np.ndarray,
                    height: int | np.ndarray) -> np.ndarray:
    """Returns the tight boxes (N, 4) int64 xywh in px of instances whose runs may go on into the next column.

    ``height`` is that of all images, or that of the image of each run.
    """
    # In an image of height 3 the run [1, 4) has the pixels (y, x) = (1, 0), (2, 0) and (0, 1). It goes on from column 0
    # into column 1, therefore touches the bottom and the top, and its box has the whole height: x 0, y 0, w 2, h 3.
    x_first, y_first = np.divmod(starts, height)
    x_last, y_last = np.divmod(ends - 1, height)
    spans_columns = x_last > x_first
    x_min = np.minimum.reduceat(x_first, first_run)
    x_max = np.maximum.reduceat(x_last, first_run)
    y_min = np.minimum.reduceat(np.where(spans_columns, 0, y_first), first_run)
    y_max = np.maximum.reduceat(np.where(spans_columns, height - 1, y_last), first_run)
    return np.stack([x_min, y_min, x_max - x_min + 1, y_max - y_min + 1], axis=1)


def compress_counts(counts: np.ndarray, n_counts: np.ndarray) -> list[str]:
    """Compresses run lengths to the strings of COCO RLE.

    Args:
        counts: (sum of n_counts,) int64, the run lengths of N instances one after another.
        n_counts: (N,) int64, the number of run lengths per instance.

    Returns:
        One string per instance.
    """
    # counts = [4, 3, 5, 40, 2, 1, 7] and n_counts = [5, 2] are two instances. The differences over two places,
    # [4, 3, 1, 37, -3, -39, 5], hold from the fourth run length of an instance on, so that the values are
    # [4, 3, 5, 37, -3] and [1, 7]. Only 37 needs two groups: n_groups = [1, 1, 1, 2, 1, 1, 1], the text is '435U1M17',
    # and groups_before = [0, 1, 2, 3, 5, 6, 7, 8] at the ends of the instances, 5 and 7, says where to cut: 6 and 8.
    values = counts.copy()
    values[2:] -= counts[:-2]
    index_in_instance = _index_in_group(n_counts)
    values[index_in_instance < 3] = counts[index_in_instance < 3]
    groups, n_groups = _to_five_bit_groups(values)
    text = (groups + _CHAR_OFFSET).tobytes().decode('ascii')
    groups_before = np.concatenate([[0], np.cumsum(n_groups)])
    ends = groups_before[np.cumsum(n_counts)]
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _index_in_group(sizes: np.ndarray) -> np.ndarray:
    """Counts 0, 1, 2, … within each of the consecutive groups of the given sizes: [2, 0, 3] gives [0, 1, 0, 1, 2]."""
    begins = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) - np.repeat(begins, sizes)


def _to_five_bit_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all groups (uint8, with the continuation bit) in order, and the number of groups (N,) of each value."""
    # The values [5, 37, -3] give the table [[5, 0], [37, 1], [29, 31]] and n_groups = [1, 2, 1]. Of each row only
    # the first n_groups entries are taken: [5, 37, 1, 29]. A value is complete when the rest repeats its sign bit: 0
    # behind a group without the bit _SIGN, -1 behind a group with it.
    columns, n_groups = [], np.zeros(len(values), np.int64)
    rest, is_unfinished = values, np.ones(len(values), bool)
    while is_unfinished.any():
        group = rest & 0x1f
        rest = rest >> 5
        has_more = is_unfinished & np.where(group & _SIGN, rest != -1, rest != 0)
        columns.append(group | np.where(has_more, _MORE, 0))
        n_groups += is_unfinished
        is_unfinished = has_more
    table = np.stack(columns, axis=1) if columns else np.zeros((0, 1), np.int64)
    return table[np.arange(table.shape[1]) < n_groups[:, None]].astype(np.uint8), n_groups


def parse_rle(rle: dict) -> np.ndarray:
    """Checks one RLE and returns its run lengths.

    Args:
        rle: ``{'size': [height, width], 'counts': …}``. The counts are a compressed str or bytes, or a list of ints.

    Returns:
        (n,) int64 run lengths, background first. Their sum is height * width.

    Raises:
        ValueError: The RLE is not valid: a key is missing, a character is out of range, a value is cut short, a run
            length is negative, or their sum is not the number of pixels. ``pycocotools`` checks none of this.
    """
    return parse_rles([rle])[0]


def parse_rles(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Checks N RLEs and returns their run lengths, in one pass over all of them.

    Args:
        rles: N RLEs, compressed or not, as :func:`parse_rle` accepts them. They may differ in size.

    Returns:
        The run lengths of all RLEs one after another, int64, and (N,) int64, how many of them belong to each RLE.

    Raises:
        ValueError: An RLE is not valid (see :func:`parse_rle`).
    """
    n_pixels = np.array([_checked_n_pixels(rle) for rle in rles], np.int64)
    counts = [rle['counts'] for rle in rles]
    is_text = [isinstance(rle_counts, str | bytes) for rle_counts in counts]
    runs, n_runs = _decompress([rle_counts for rle_counts, text in zip(counts, is_text, strict=True) if text])
    if not all(is_text):
        decompressed = iter(np.split(runs, np.cumsum(n_runs)[:-1]))
        pieces = [next(decompressed) if text else _listed_runs(rle_counts)
                  for rle_counts, text in zip(counts, is_text, strict=True)]
        runs, n_runs = np.concatenate(pieces), np.array([len(piece) for piece in pieces])
    # Every run length is checked by itself first, because the sum of huge ones would overflow int64.
    if ((runs < 0) | (runs > np.repeat(n_pixels, n_runs))).any():
        raise ValueError('RLE has a negative run length, or a run length longer than its image')
    # Two RLEs with the runs [1, 2, 2, 1] and [0, 1, 4, 1]: the sums before each run are [0, 1, 3, 5, 6, 6, 7, 11, 12].
    # At the borders between the RLEs, [0, 4, 8], they are [0, 6, 12], so that the RLEs cover 6 and 6 pixels.
    covered = np.diff(np.concatenate([[0], np.cumsum(runs)])[np.concatenate([[0], np.cumsum(n_runs)])])
    for i in np.flatnonzero(covered != n_pixels)[:1]:
        raise ValueError(f"the runs of an RLE cover {covered[i]} pixels, but its size {list(rles[i]['size'])} has "
                         f'{n_pixels[i]} pixels')
    return runs, n_runs


def _checked_n_pixels(rle: dict) -> int:
    """Checks the keys and the size of an RLE, and returns the number of pixels of its image."""
    if not isinstance(rle, dict) or not {'size', 'counts'} <= rle.keys():
        raise ValueError(f"RLE must be a dict with 'size' and 'counts', got {str(rle)[:60]}")
    size = rle['size']
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(
            isinstance(side, int | np.integer) and 0 <= side <= _MAX_SIDE for side in size):
        raise ValueError(f'RLE size must be [height, width], two integers from 0 to {_MAX_SIDE}, got {size}')
    return int(size[0]) * int(size[1])


def _listed_runs(counts: Sequence[int]) -> np.ndarray:
    """Checks the counts of an RLE that is not compressed, and returns them as (n,) int64."""
    runs = np.asarray(counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in 'iu'):
        raise ValueError(f'RLE counts must be a string or a list of integers, got {str(counts)[:60]}')
    return runs.astype(np.int64)


def _decompress(texts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the run lengths of all compressed counts one after another, and (N,) how many belong to each string.

    Raises:
        ValueError: A string is not valid.
    """
    try:
        raws = [text.encode('ascii') if isinstance(text, str) else text for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError('RLE counts have a character that is not ASCII') from error
    # '435U1M' and '17' are the groups [4, 3, 5, 37, 1, 29, 1, 7]. The fourth has the bit _MORE, so that the last groups
    # of the values are at [0, 1, 2, 4, 5, 6, 7], the first ones at [0, 1, 2, 3, 5, 6, 7]. The lower five bits, shifted
    # by 5 per place, add up to [4, 3, 5, 5 + (1 << 5) = 37, 29, 1, 7]. The group 29 has the bit _SIGN, and its value is
    # 29 - (1 << 5) = -3. Five values end before position 6 and seven before position 8: n_values = [5, 2].
    groups = np.frombuffer(b''.join(raws), np.uint8).astype(np.int64) - _CHAR_OFFSET
    if groups.size == 0:
        return groups, np.zeros(len(texts), np.int64)
    if groups.min() < 0 or groups.max() > 0x3f:
        raise ValueError(f"RLE counts have a character out of range; '{chr(_CHAR_OFFSET)}' to "
                         f"'{chr(_CHAR_OFFSET + 0x3f)}' of ASCII are allowed")
    is_last = groups & _MORE == 0
    text_ends = np.cumsum([len(raw) for raw in raws])
    if not is_last[text_ends[text_ends > 0] - 1].all():
        raise ValueError('RLE counts are cut short: the last character announces another one')
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    n_groups = last - first + 1
    if n_groups.max() > _MAX_GROUPS:
        raise ValueError('RLE counts hold a number too large for a run length')
    shifts = 5 * _index_in_group(n_groups)
    values = np.add.reduceat((groups & 0x1f) << shifts, first)
    values -= np.where(groups[last] & _SIGN, 1 << (5 * n_groups), 0)
    n_values = np.diff(np.searchsorted(last, text_ends), prepend=0)
    return _sum_differences(values, n_values), n_values


def _sum_differences(values: np.ndarray, n_values: np.ndarray) -> np.ndarray:
    """Turns the stored values of RLEs back into run lengths.

    From the fourth value of an RLE on, each is the difference from the run length two places before it.

    Args:
        values: (sum of n_values,) int64, the stored values of N RLEs one after another.
        n_values: (N,) int64, the number of values per RLE.
    """
    # Differences over two places are two interleaved sums: the columns of a table with two values per row, in which
    # each RLE starts a new row. The values [4, 3, 5, 37, -3] and [1, 7] make the rows [4, 3], [5, 37], [-3, 0], [1, 7]
    # below a row of zeros. No difference refers to the first value of an RLE, so it is replaced by 0 (firsts = [4, 1]).
    # Sums down the columns are then [0, 3], [5, 40], [2, 40], [2, 47]. From the rows of the second RLE the row before
    # it is subtracted: [2, 47] - [2, 40] = [0, 7]. With the first values put back: [4, 3, 5, 40, 2] and [1, 7].
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
    """Paints instances into one label map. Where instances overlap, the later one covers the earlier one.

    Args:
        rles: N RLEs of one size.
        ids: (N,) positive ids of the instances. The default is 1 to N.
        size: (height, width) in px. It is needed only if there is no RLE, and must agree with the RLEs otherwise.

    Returns:
        (H, W) int32, 0 = background. The time is proportional to H * W plus the areas of all instances.

    Raises:
        ValueError: The sizes differ, no size is known, or an RLE is not valid (see :func:`parse_rle`).
    """
    sizes = {tuple(rle['size']) for rle in rles} | ({tuple(size)} if size is not None else set())
    if len(sizes) != 1:
        raise ValueError(f'all RLEs of a label map must have one size, got {sorted(sizes)}')
    height, width = sizes.pop()
    pixels = np.zeros(height * width, np.int32)
    positions, areas = foreground_pixels_of_all(rles)
    # If a position occurs several times, numpy keeps the value that is assigned last: the later instance.
    pixels[positions] = np.repeat(np.arange(1, len(rles) + 1) if ids is None else ids, areas)
    return pixels.reshape((height, width), order='F')


def foreground_pixels(rle: dict) -> np.ndarray:
    """Returns the column-major positions (area,) int64 of an instance's pixels; pixel (y, x) is at x * height + y."""
    return foreground_pixels_of_all([rle])[0]


def foreground_pixels_of_all(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of N instances.

    Args:
        rles: N RLEs, which may differ in size.

    Returns:
        (sum of areas,) int64, the positions that :func:`foreground_pixels` gives, of one instance after another, and
        (N,) int64, the areas in px.

    Raises:
        ValueError: An RLE is not valid (see :func:`parse_rle`).
    """
    # Two RLEs of 2 x 3 pixels with the runs [1, 2, 2, 1] and [0, 1, 4, 1] end at [1, 3, 5, 6, 6, 7, 11, 12] in total.
    # Counted from the beginning of each image that is [1, 3, 5, 6] and [0, 1, 5, 6]. Every second run is inside the
    # instance: ends [3, 6, 1, 6], lengths [2, 1, 1, 1], hence starts [1, 5, 0, 5]. Repeated by the lengths and counted
    # on within each run this gives the positions [1, 2, 5] of the first and [0, 5] of the second instance.
    runs, n_runs = parse_rles(rles)
    ends = np.cumsum(runs)
    ends -= np.repeat(np.concatenate([[0], ends])[np.cumsum(n_runs) - n_runs], n_runs)
    is_inside = _index_in_group(n_runs) % 2 == 1
    ends, lengths = ends[is_inside], runs[is_inside]
    positions = np.repeat(ends - lengths, lengths) + _index_in_group(lengths)
    n_inside = n_runs // 2
    areas = np.diff(np.concatenate([[0], np.cumsum(lengths)])[np.concatenate([[0], np.cumsum(n_inside)])])
    return positions, areas


def area_px(rle: dict) -> int:
    """Returns the number of pixels of an instance."""
    return int(parse_rle(rle)[1::2].sum())


def areas_px(rles: Sequence[dict]) -> np.ndarray:
    """Returns the number of pixels of each of N instances, (N,) int64, in one pass over all RLEs."""
    runs, n_runs = parse_rles(rles)
    inside = np.where(_index_in_group(n_runs) % 2 == 1, runs, 0)
    return np.diff(np.concatenate([[0], np.cumsum(inside)])[np.concatenate([[0], np.cumsum(n_runs)])])


def bboxes_xywh(rles: Sequence[dict]) -> np.ndarray:
    """Returns the tight boxes of N instances, (N, 4) int64 xywh in px, in one pass over all RLEs.

    They are those of ``pycocotools.mask.toBbox``, which is wrong for RLEs with runs of length 0. The box of an instance
    without pixels is 0, 0, 0, 0.

    Args:
        rles: N RLEs, which may differ in size.

    Raises:
        ValueError: An RLE is not valid (see :func:`parse_rle`).
    """
    # Two RLEs of 2 x 3 pixels with the runs [1, 2, 2, 1] and [6]: the second has no run inside. Of the first one these
    # are starts [1, 5], ends [3, 6] and instances [0, 0]; first_run = [0] belongs to the instances [0].
    runs, n_runs = parse_rles(rles)
    instances = np.repeat(np.arange(len(rles)), n_runs)
    ends = np.cumsum(runs)
    ends -= np.repeat(np.concatenate([[0], ends])[np.cumsum(n_runs) - n_runs], n_runs)
    is_inside = (_index_in_group(n_runs) % 2 == 1) & (runs > 0)
    instances, starts, ends = instances[is_inside], (ends - runs)[is_inside], ends[is_inside]
    first_run = np.flatnonzero(np.diff(instances, prepend=-1))
    heights = np.array([rle['size'][0] for rle in rles], np.int64)
    bboxes = np.zeros((len(rles), 4), np.int64)
    if len(first_run):
        bboxes[instances[first_run]] = _bboxes_of_runs(starts, ends, first_run, heights[instances])
    return bboxes
