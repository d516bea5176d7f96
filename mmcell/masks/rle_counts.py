"""Reads and writes the run lengths (``counts``) in COCO run-length encodings (RLE), of all masks in one pass.

The format is the one of ``pycocotools`` (``common/maskApi.c``). A mask is read column by column. Run lengths count
the pixels outside and inside the mask in turn, and begin with those outside, which may be 0. In the compressed form,
every run length from the fourth on is replaced by its difference from the run length two places before it. Each value
is then written in groups of five bits, the lowest group first. One group makes one character: 32 is added if more
groups of the same value follow, and 48 is added to make the character printable.

Example: the run lengths 4, 3, 5, 40, 2 become the values 4, 3, 5, 40 - 3 = 37, 2 - 5 = -3. The value 37 = 5 + 1 * 32
needs two groups, 5 and 1, and is written as the characters 5 + 32 + 48 = 85 ('U') and 1 + 48 = 49 ('1'). The value -3
is 29 as a number of five bits with a sign, and 29 + 48 = 77 ('M'). Together: '435U1M'.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mmcell.ragged import begins_of, index_in_group, offsets_of, sums_of_groups

_CHAR_OFFSET = 48
# The bit of a group that says that more groups of the same value follow.
_MORE = 0x20
# The highest of the five bits. In the last group of a value it says that the value is negative.
_SIGN = 0x10
# Twelve groups of five bits hold the numbers from -2^59 to 2^59 - 1. The shifts for a thirteenth would exceed an int64.
_MAX_GROUPS = 12
_LIMITS = 1 << 5 * np.arange(1, _MAX_GROUPS + 1) - 1  # [16, 512, …]
# The product of two sides of this length still fits into an int64.
_MAX_SIDE = 2**31 - 1
_MAX_PIXELS = _MAX_SIDE**2
_INTEGERS = (int, np.integer)


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
    # and is cut at the groups [0, 6, 8].
    values = counts.copy()
    values[2:] -= counts[:-2]
    values = np.where(index_in_group(n_counts) >= 3, values, counts)
    # With the sign bit, n groups hold the numbers from -_LIMITS[n - 1] to _LIMITS[n - 1] - 1: the values [5, 37, -3]
    # need n_groups = [1, 2, 1]. Shifted by five bits per place, [5, 37, 37 >> 5, -3], they end in the five bits
    # [5, 5, 1, 29]. All but the last groups of values get the bit _MORE: [5, 37, 1, 29].
    n_groups = np.searchsorted(_LIMITS, np.where(values < 0, ~values, values), side='right') + 1
    groups = np.repeat(values, n_groups) >> 5 * index_in_group(n_groups) & 0x1f | _MORE
    offsets = offsets_of(n_groups)
    groups[offsets[1:] - 1] ^= _MORE
    text = (groups + _CHAR_OFFSET).astype(np.uint8).tobytes().decode('ascii')
    return [text[start:end] for start, end in pairwise(offsets[offsets_of(n_counts)].tolist())]


def with_text_counts(rle: dict) -> dict:
    """Returns a compressed RLE with counts as str, which JSON can store; pycocotools gives bytes."""
    counts = rle['counts']
    return {'size': list(rle['size']), 'counts': counts.decode() if isinstance(counts, bytes) else counts}


def parse_rles(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks N RLEs and returns their run lengths, in one pass over all of them.

    Args:
        rles: N dicts ``{'size': [height, width], 'counts': …}``, which may differ in size. The counts are a compressed
            str or bytes, or a list of ints.

    Returns:
        The run lengths of all RLEs one after another, (C,) int64; (C,) int64, how many pixels of its image lie before
        the end of each of these runs; and (N,) int64, how many of them belong to each RLE.

    Raises:
        ValueError: An RLE is not valid: a key is missing, a character is out of range, a value is cut short, a run
            length is negative, or their sum is not the number of pixels. ``pycocotools`` checks none of this.
    """
    n_pixels = np.array([_checked_n_pixels(rle) for rle in rles], np.int64)
    counts, n_counts = _read_counts([rle['counts'] for rle in rles])
    if counts.min(initial=0) < 0:
        raise ValueError(f'RLE has a negative run length, {counts.min()}')
    # Two RLEs with the run lengths [1, 2, 2, 1] and [0, 1, 4, 1]: the sums before each run and at the end are
    # [0, 1, 3, 5, 6, 6, 7, 11, 12]. The RLEs begin at the sums [0, 6] and end at 12, so that they cover 6 and 6 pixels,
    # and their own runs end at [1, 3, 5, 6] and [0, 1, 5, 6].
    offsets, first = offsets_of(counts), offsets_of(n_counts)
    covered, ends = np.diff(offsets[first]), offsets[1:] - np.repeat(offsets[first[:-1]], n_counts)
    # A sum beyond 2^63 becomes negative, because no term is greater than _MAX_PIXELS < 2^62.
    if counts.max(initial=0) > _MAX_PIXELS or ends.min(initial=0) < 0:
        raise ValueError('the runs of an RLE cover more pixels than any image has')
    for i in np.flatnonzero(covered != n_pixels)[:1]:
        raise ValueError(f"the runs of an RLE cover {covered[i]} pixels, but its size {list(rles[i]['size'])} has "
                         f'{n_pixels[i]} pixels')
    return counts, ends, n_counts


def find_invalid_rles(rles: Sequence[dict]) -> dict[int, str]:
    """Returns what is wrong with the RLEs that are not valid (see :func:`parse_rles`), by their index."""
    try:
        # All at once is many times faster. Only if that fails, each RLE is read by itself.
        parse_rles(rles)
    except ValueError as error:
        if len(rles) == 1:
            return {0: str(error)}
        problems = {index: find_invalid_rles([rle]) for index, rle in enumerate(rles)}
        return {index: problem[0] for index, problem in problems.items() if problem}
    return {}


def _checked_n_pixels(rle: dict) -> int:
    """Checks the keys and the size of an RLE, and returns the number of pixels of its image."""
    if not isinstance(rle, dict) or not {'size', 'counts'} <= rle.keys():
        raise ValueError(f"RLE must be a dict with 'size' and 'counts', got {str(rle)[:60]}")
    size = rle['size']
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(
            isinstance(side, _INTEGERS) and 0 <= side <= _MAX_SIDE for side in size):
        raise ValueError(f'RLE size must be [height, width], two integers from 0 to {_MAX_SIDE}, got {size}')
    return int(size[0]) * int(size[1])


def _read_counts(all_counts: list[str | bytes | Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the run lengths of N compressed or listed counts one after another, and (N,) how many each has."""
    is_text = [isinstance(counts, str | bytes) for counts in all_counts]
    if all(is_text):
        return _decompress(all_counts)
    pieces = [_decompress([counts])[0] if text else np.asarray(counts)
              for counts, text in zip(all_counts, is_text, strict=True)]
    for lengths, counts in zip(pieces, all_counts, strict=True):
        if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in 'iu'):
            raise ValueError(f'RLE counts must be a string or a list of integers, got {str(counts)[:60]}')
    return np.concatenate([lengths.astype(np.int64) for lengths in pieces]), np.array(list(map(len, pieces)))


def _decompress(texts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the run lengths of all compressed counts one after another, and (N,) how many belong to each string."""
    try:
        raws = [text.encode('ascii') if isinstance(text, str) else text for text in texts]
    except UnicodeEncodeError as error:
        raise ValueError('RLE counts have a character that is not ASCII') from error
    # '435U1M' and '17' are the groups [4, 3, 5, 37, 1, 29, 1, 7]. The fourth has the bit _MORE, so that the last groups
    # of the values are at [0, 1, 2, 4, 5, 6, 7], and n_groups = [1, 1, 1, 2, 1, 1, 1]. The lower five bits, shifted
    # by 5 per place, add up to [4, 3, 5, 5 + (1 << 5) = 37, 29, 1, 7]. The group 29 has the bit _SIGN, and its value is
    # 29 - (1 << 5) = -3. The strings hold n_values = [5, 2] last groups.
    groups = np.frombuffer(b''.join(raws), np.uint8).astype(np.int64) - _CHAR_OFFSET
    if groups.size == 0:
        return groups, np.zeros(len(texts), np.int64)
    if groups.min() < 0 or groups.max() > 0x3f:
        raise ValueError(f"RLE counts have a character out of range; '{chr(_CHAR_OFFSET)}' to "
                         f"'{chr(_CHAR_OFFSET + 0x3f)}' of ASCII are allowed")
    is_last = groups & _MORE == 0
    n_chars = np.array([len(raw) for raw in raws])
    if not is_last[offsets_of(n_chars[n_chars > 0])[1:] - 1].all():
        raise ValueError('RLE counts are cut short: the last character announces another one')
    last = np.flatnonzero(is_last)
    n_groups = np.diff(last, prepend=-1)
    if n_groups.max() > _MAX_GROUPS:
        raise ValueError('RLE counts hold a number too large for a run length')
    values = sums_of_groups((groups & 0x1f) << 5 * index_in_group(n_groups), n_groups)
    values -= np.where(groups[last] & _SIGN, 1 << 5 * n_groups, 0)
    n_values = sums_of_groups(is_last, n_chars)
    return _sum_differences(values, n_values), n_values


def _sum_differences(values: np.ndarray, n_values: np.ndarray) -> np.ndarray:
    """Turns the stored values of RLEs back into run lengths."""
    # Differences over two places are two interleaved sums: the columns of a table with two values per row, below a row
    # of zeros. No difference refers to the first value of an RLE, which counts as 0. The values [4, 3, 5, 37, -3] and
    # [1, 7] make the rows [0, 0], [0, 3], [5, 37], [-3, 0], [7, 0] with the sums [0, 0], [0, 3], [5, 40], [2, 40],
    # [9, 40]. From each, the sum in its column before its RLE begins is subtracted: 0 in the first RLE, 40 and 2 in the
    # second one. With the first values put back, the run lengths are [4, 3, 5, 40, 2] and [1, 7].
    first = begins_of(n_values)
    table = np.zeros((len(values) // 2 + 2, 2), np.int64)
    flat = table.reshape(-1)[2:2 + len(values)]
    flat[:] = values
    flat[first[n_values > 0]] = 0
    sums = np.cumsum(table, axis=0).ravel()
    lengths = sums[2:2 + len(values)] - sums[np.repeat(first, n_values) + (index_in_group(n_values) & 1)]
    lengths[first[n_values > 0]] = values[first[n_values > 0]]
    return lengths
