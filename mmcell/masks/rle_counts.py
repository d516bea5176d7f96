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
from itertools import chain, pairwise

import numpy as np

from mmcell.ragged import begins_of_runs, index_in_group, offsets_of, running_sums, sums_of_groups

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
_KEYS = {'size', 'counts'}


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


def parse_rles(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Checks N RLEs and returns their run lengths, in one pass over all of them.

    Args:
        rles: N dicts ``{'size': [height, width], 'counts': …}``, which may differ in size. The counts are a compressed
            str or bytes, or a list of ints.

    Returns:
        The run lengths of all RLEs one after another, (C,) int64; and (N,) int64, how many of them belong to each RLE.

    Raises:
        ValueError: An RLE is not valid: a key is missing, a character is out of range, a value is cut short, a run
            length is negative, or their sum is not the number of pixels. ``pycocotools`` checks none of this.
    """
    outside, inside, n_counts, _ = _parse_pairs(rles, sizes_of(rles))
    return np.stack([outside, inside], axis=1).ravel()[_is_count(n_counts)], n_counts


def parse_runs(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Checks N RLEs as :func:`parse_rles` does, and returns the runs of pixels inside of the masks.

    Returns:
        (R,) int64, the first position of each run in its own image, instance after instance in ascending order;
        (R,) int64, one past the last position of each run; (N,) int64, the number of runs per instance; and (N, 2)
        int64, the height and the width of its image in px. No run is empty.

    Raises:
        ValueError: An RLE is not valid.
    """
    # Two RLEs of 2 x 3 pixels with the run lengths [1, 2, 2, 1] and [1, 5]. Outside are [1, 2] and [1] pixels, inside
    # [2, 1] and [5]. The pairs end at [3, 6] and [6], and the runs begin at [3 - 2, 6 - 1] = [1, 5] and [6 - 5] = [1].
    sizes = sizes_of(rles)
    _, inside, n_counts, ends = _parse_pairs(rles, sizes)
    is_run = inside > 0
    runs = np.flatnonzero(is_run)
    ends = ends[runs]
    return ends - inside[runs], ends, sums_of_groups(is_run, _n_pairs(n_counts)), sizes


def _parse_pairs(rles: Sequence[dict], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Checks N RLEs and returns their run lengths as pairs: a run outside of the mask and the run inside behind it.

    An odd number of run lengths ends with a pair whose run inside has the length 0.

    Returns:
        The lengths of the runs outside and of the runs inside, (P,) int64 each; (N,) int64, the number of run lengths
        of each RLE; and (P,) int64, how many pixels of its image lie before the end of each pair.
    """
    n_pixels = sizes.prod(axis=1)
    outside, inside, n_counts = _read_pairs([rle['counts'] for rle in rles])
    lowest = min(outside.min(initial=0), inside.min(initial=0))
    if lowest < 0:
        raise ValueError(f'RLE has a negative run length, {lowest}')
    n_pairs = _n_pairs(n_counts)
    ends = running_sums(outside + inside, n_pairs)
    # A sum beyond 2^63 becomes negative, because no pair adds more than 2 * _MAX_PIXELS < 2^63.
    if max(outside.max(initial=0), inside.max(initial=0)) > _MAX_PIXELS or ends.min(initial=0) < 0:
        raise ValueError('the runs of an RLE cover more pixels than any image has')
    covered = np.zeros(len(rles), np.int64)
    has_pairs = n_pairs > 0
    covered[has_pairs] = ends[offsets_of(n_pairs)[1:][has_pairs] - 1]
    for i in np.flatnonzero(covered != n_pixels)[:1]:
        raise ValueError(f"the runs of an RLE cover {covered[i]} pixels, but its size {list(rles[i]['size'])} has "
                         f'{n_pixels[i]} pixels')
    return outside, inside, n_counts, ends


def _n_pairs(n_counts: np.ndarray) -> np.ndarray:
    return (n_counts + 1) // 2


def _is_count(n_counts: np.ndarray) -> np.ndarray:
    """Returns for each place in the pairs of all RLEs, (2 * P,) bool, whether it holds a run length."""
    # The RLEs with [3, 2, 1] run lengths have [4, 2, 2] places in pairs, of which the places 3 and 7 are empty.
    is_count = np.ones(2 * int(_n_pairs(n_counts).sum()), bool)
    is_count[2 * offsets_of(_n_pairs(n_counts))[1:][n_counts % 2 == 1] - 1] = False
    return is_count


def _to_pairs(values: np.ndarray, n_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the second value of each pair, (P,) int64 each; 0 where a second one is missing."""
    is_count = _is_count(n_values)
    pairs = np.zeros(len(is_count), np.int64)
    pairs[is_count] = values
    return pairs[0::2].copy(), pairs[1::2].copy()


def find_invalid_rles(rles: Sequence[dict]) -> dict[int, str]:
    """Returns what is wrong with the RLEs that are not valid (see :func:`parse_rles`), by their index."""
    try:
        # Many at once are read much faster than one by one. Only where that fails, the RLEs are halved.
        parse_runs(rles)
    except ValueError as error:
        if len(rles) == 1:
            return {0: str(error)}
        middle = len(rles) // 2
        return find_invalid_rles(rles[:middle]) | {
            middle + index: problem for index, problem in find_invalid_rles(rles[middle:]).items()}
    return {}


def sizes_of(rles: Sequence[dict]) -> np.ndarray:
    """Returns the heights and widths of N RLEs, (N, 2) int64.

    Raises:
        ValueError: An RLE is not a dict with 'size' and 'counts', or its size is not two integers of a range.
    """
    # What json and pycocotools give is checked all at once. NumPy makes integers of nothing but integers.
    if set(map(type, rles)) <= {dict} and all('counts' in rle and 'size' in rle for rle in rles):
        sizes = [rle['size'] for rle in rles]
        if set(map(type, sizes)) <= {list, tuple} and set(map(len, sizes)) <= {2}:
            sides = list(chain.from_iterable(sizes))
            if set(map(type, sides)) <= {int} and min(sides, default=0) >= 0 and max(sides, default=0) <= _MAX_SIDE:
                return np.array(sides, np.int64).reshape(-1, 2)
    return np.array([_checked_size(rle) for rle in rles], np.int64).reshape(-1, 2)


def _checked_size(rle: dict) -> tuple[int, int]:
    """Checks the keys and the size of an RLE, and returns its height and its width."""
    if not isinstance(rle, dict) or not rle.keys() >= _KEYS:
        raise ValueError(f"RLE must be a dict with 'size' and 'counts', got {str(rle)[:60]}")
    size = rle['size']
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(
            isinstance(side, _INTEGERS) and 0 <= side <= _MAX_SIDE for side in size):
        raise ValueError(f'RLE size must be [height, width], two integers from 0 to {_MAX_SIDE}, got {size}')
    return int(size[0]), int(size[1])


def _read_pairs(all_counts: list[str | bytes | Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the run lengths of N compressed or listed counts as pairs, and (N,) how many run lengths each has."""
    types = set(map(type, all_counts))
    if types <= {str, bytes}:
        raws, n_chars = _join(all_counts, types)
        return _decompress(raws, n_chars)
    pieces = [_decompressed(counts) if isinstance(counts, str | bytes) else np.asarray(counts) for counts in all_counts]
    for lengths, counts in zip(pieces, all_counts, strict=True):
        if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in 'iu'):
            raise ValueError(f'RLE counts must be a string or a list of integers, got {str(counts)[:60]}')
    n_counts = np.array(list(map(len, pieces)))
    return *_to_pairs(np.concatenate([lengths.astype(np.int64) for lengths in pieces]), n_counts), n_counts


def _join(texts: list[str | bytes], types: set[type]) -> tuple[bytes, np.ndarray]:
    """Returns the characters of all texts one after another, and (N,) int64, how many belong to each text."""
    n_chars = np.array(list(map(len, texts)), np.int64)
    try:
        if types == {str}:
            return ''.join(texts).encode('ascii'), n_chars
        return b''.join(text.encode('ascii') if isinstance(text, str) else text for text in texts), n_chars
    except UnicodeEncodeError as error:
        raise ValueError('RLE counts have a character that is not ASCII') from error


def _decompressed(text: str | bytes) -> np.ndarray:
    """Returns the run lengths of one compressed text."""
    outside, inside, n_counts = _decompress(*_join([text], {type(text)}))
    return np.stack([outside, inside], axis=1).ravel()[:n_counts[0]]


def _decompress(raws: bytes, n_chars: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the run lengths of N compressed counts as pairs, and (N,) how many run lengths each has.

    Args:
        raws: The characters of all counts one after another.
        n_chars: (N,) int64, how many characters belong to each.
    """
    # '435U1M' and '17' are the groups [4, 3, 5, 37, 1, 29, 1, 7], of which the place 3 has the bit _MORE. The last
    # groups of the values are at [0, 1, 2, 4, 5, 6, 7]: the strings hold n_values = [5, 2] of them.
    groups = np.frombuffer(raws, np.uint8) - np.uint8(_CHAR_OFFSET)  # a character below the offset becomes a large one
    if groups.max(initial=0) > 0x3f:
        raise ValueError(f"RLE counts have a character out of range; '{chr(_CHAR_OFFSET)}' to "
                         f"'{chr(_CHAR_OFFSET + 0x3f)}' of ASCII are allowed")
    is_last, offsets = groups < _MORE, offsets_of(n_chars)
    if not is_last[offsets[1:][n_chars > 0] - 1].all():
        raise ValueError('RLE counts are cut short: the last character announces another one')
    # more[i] continuing groups lie before the i-th of them, so that its value has the place more[i] - i.
    more = np.flatnonzero(~is_last)
    n_values = np.diff(offsets - np.searchsorted(more, offsets))
    values = _join_groups(groups[is_last], groups[more], more - np.arange(len(more)))
    # The value of every run length from the fourth on is a difference over two places. In pairs, [4, 3], [5, 37] and
    # [-3, 0], these are running sums over the pairs of an RLE, from which the first value is left out: outside
    # [0, 5, 5 - 3] = [0, 5, 2] and inside [3, 40, 40]. With the first value put back, and 0 where there is none inside,
    # they are [4, 5, 2] and [3, 40, 0].
    outside, inside = _to_pairs(values, n_values)
    n_pairs = _n_pairs(n_values)
    pair_offsets = offsets_of(n_pairs)
    first, last = pair_offsets[:-1][n_pairs > 0], pair_offsets[1:][n_values % 2 == 1] - 1
    first_values = outside[first]
    outside[first] = 0
    outside, inside = running_sums(outside, n_pairs), running_sums(inside, n_pairs)
    outside[first], inside[last] = first_values, 0
    return outside, inside, n_values


def _join_groups(last: np.ndarray, others: np.ndarray, value_of_other: np.ndarray) -> np.ndarray:
    """Puts groups of five bits together.

    Args:
        last: (V,) uint8, the last group of each value.
        others: (G,) uint8, the groups before the last ones, with the bit _MORE.
        value_of_other: (G,) int64, ascending, the place of the value of each of them.

    Returns:
        (V,) int64, the values.
    """
    # last = [4, 3, 5, 1, 29, 1, 7] become [4, 3, 5, 1, 29 - 32 = -3, 1, 7] with their sign. Value 3 has one other group
    # before its last one, 37 without the bit _MORE = 5: it is 5 + (1 << 5) = 37.
    values = ((last ^ _SIGN).view(np.int8) - np.int8(_SIGN)).astype(np.int64)
    begins = begins_of_runs(value_of_other)
    n_others = np.diff(begins, append=len(others))
    if n_others.max(initial=0) >= _MAX_GROUPS:
        raise ValueError('RLE counts hold a number too large for a run length')
    lower_bits = (others & 0x1f).astype(np.int64) << 5 * index_in_group(n_others)
    joined = value_of_other[begins]
    values[joined] = (values[joined] << 5 * n_others) + sums_of_groups(lower_bits, n_others)
    return values
