"""Decodes LZW streams of TIFF files, whatever bytes they have.

imagecodecs 2026.3.6 decodes fast, but does not check the first code after a Clear code, so that a damaged stream ends
the process with a segmentation fault; and it loses the last code of a stream that ends without an End code. Here the
codes are checked first, and the decoder is told how many bytes they stand for.
"""

import imagecodecs
import numpy as np

from mmcell.images.limits import ImageReadError

_CLEAR, _END = 256, 257
# Widths of the codes after a Clear code in bits, and their positions: with each code but the first the table gets one
# more string, and the width grows one code before it has to. Source: TIFF 6.0, section 13.
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2049])
_BEGINS = np.cumsum(_WIDTHS) - _WIDTHS
_N_SHORT = 254
# The greatest code that the table can have at each place. The first code must stand for a byte.
_GREATEST = 257 + np.arange(len(_WIDTHS))
_GREATEST[0] = 255
# So many codes of 9 bits are looked at together.
_RUN_WIDTHS = np.full(2 * _N_SHORT, 9)
_RUN_BEGINS = np.cumsum(_RUN_WIDTHS) - _RUN_WIDTHS


def decode_lzw(encoded: bytes, n_bytes: int) -> bytes:
    """Decodes an LZW stream up to a number of bytes; what follows them in the stream is not looked at.

    Args:
        encoded: The stream with the first bit of a code in the highest free bit, as FillOrder 1 has it.
        n_bytes: How many bytes are wanted.

    Returns:
        ``n_bytes`` bytes, or fewer if the stream ends before.

    Raises:
        ImageReadError: The stream does not begin with a Clear code. Or, before so many bytes, it has a code that is not
            in the table at its place, or more codes than the table has places. Or it has the first bit of a code in the
            lowest free bit, as in files that were written before TIFF 5.0 (1988).
    """
    # libtiff and imagecodecs know such streams by their first code, a Clear code in this order of bits.
    if len(encoded) > 1 and encoded[0] == 0 and encoded[1] & 1:
        raise ImageReadError('is compressed with LZW in a form that was used before 1988: save it without compression')
    if len(encoded) > 1 and encoded[0] << 1 | encoded[1] >> 7 != _CLEAR:
        _refuse()
    n_decoded = min(_count_bytes(encoded, n_bytes), n_bytes)
    # Zeros behind the last code make the decoder see it. They are not decoded, because it stops after n_decoded bytes.
    return bytes(imagecodecs.lzw_decode(encoded + b'\0\0\0', out=n_decoded)) if n_decoded else b''


def _count_bytes(encoded: bytes, n_wanted: int) -> int:
    """Checks a stream until it has given ``n_wanted`` bytes; returns how many it gives up to there or up to its end."""
    stream, position, n_decoded, n_used = np.frombuffer(encoded + b'\0\0\0', np.uint8), 0, 0, 0
    while True:
        # Many Clear codes that follow each other closely, which only a hostile stream has, are passed over together.
        if n_used < _N_SHORT:
            codes, firsts = _whole_tables(_read_codes(stream, position, _RUN_BEGINS, _RUN_WIDTHS))
            n_decoded = _add_lengths(n_decoded, n_wanted, codes, firsts)
            position += 9 * len(codes)
        if n_decoded >= n_wanted:
            return n_decoded
        codes = _read_codes(stream, position, _BEGINS, _WIDTHS)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        n_used = int(ends[0]) if len(ends) else len(codes)
        n_decoded = _add_lengths(n_decoded, n_wanted, codes[:n_used], np.zeros(n_used, np.int64))
        if n_decoded >= n_wanted or (not len(ends) and n_used < len(_WIDTHS)) or (len(ends) and codes[n_used] == _END):
            return n_decoded
        if not len(ends):
            _refuse()
        position += int(_BEGINS[n_used] + _WIDTHS[n_used])


def _read_codes(stream: np.ndarray, position: int, begins: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Returns the codes of given widths that lie wholly in a stream, which has three bytes more.

    Args:
        stream: uint8.
        position: The bit at which they begin.
        begins: Their bits after it.
        widths: Their widths in bits, at most 12.
    """
    n_codes = int(np.searchsorted(begins + widths, 8 * (len(stream) - 3) - position, 'right'))
    begins, widths = position + begins[:n_codes], widths[:n_codes]
    high, middle, low = (stream[(begins >> 3) + i].astype(np.int64) for i in range(3))
    return (high << 16 | middle << 8 | low) >> (24 - (begins & 7) - widths) & ((1 << widths) - 1)


def _whole_tables(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns those of some codes of 9 bits up to a Clear code, with the place of the first code of the table of each.

    The Clear code is the last one before an End code, before a table with codes that are longer than 9 bits, and before
    the end.
    """
    places = np.arange(len(codes))
    # The place after the last Clear code: at first of those up to each place, then of those before it.
    firsts = np.maximum.accumulate(np.where(codes == _CLEAR, places + 1, 0))
    firsts = np.concatenate([[0], firsts])
    stops = np.flatnonzero((codes == _END) | (places - firsts[:-1] >= _N_SHORT))
    n_codes = int(firsts[stops[0] if len(stops) else -1])
    return codes[:n_codes], firsts[:n_codes]


def _add_lengths(n_decoded: int, n_wanted: int, codes: np.ndarray, firsts: np.ndarray) -> int:
    """Returns a number of bytes with those that codes stand for, up to a code that is not in the table.

    Args:
        n_decoded: The number of bytes before these codes.
        n_wanted: If it is reached before such a code, the code does no harm.
        codes: Codes without End codes.
        firsts: The place of the first code of the table of each.

    Raises:
        ImageReadError: A code is not in the table at its place.
    """
    places = np.arange(len(codes))
    wrong = np.flatnonzero((codes != _CLEAR) & (codes > _GREATEST[places - firsts]))
    n_sound = int(wrong[0]) if len(wrong) else len(codes)
    codes, firsts, places = codes[:n_sound], firsts[:n_sound], places[:n_sound]
    # The string of code 258 + i is that of the i-th code of the table and one byte more: a chain leads to a code that
    # stands for one byte. Its length is found by leaps that become twice as long each time.
    ancestors = np.where(codes <= _CLEAR, places, firsts + codes - 258)
    lengths = (ancestors != places).astype(np.int64)
    while (ancestors[ancestors] != ancestors).any():
        lengths += lengths[ancestors]
        ancestors = ancestors[ancestors]
    n_decoded += int(lengths.sum()) + int(np.count_nonzero(codes != _CLEAR))
    if len(wrong) and n_decoded < n_wanted:
        _refuse()
    return n_decoded


def _refuse() -> None:
    raise ImageReadError('is damaged: its LZW codes have no meaning')
