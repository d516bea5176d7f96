"""Checks LZW streams before they are decoded.

imagecodecs 2026.3.6 does not check the first code after a Clear code, if it is told how many bytes are expected: a
damaged stream ends the process with a segmentation fault.
"""

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


def check_lzw(encoded: bytes) -> None:
    """Refuses an LZW stream with a code that is not in the table at its place, in time that grows with its length.

    Args:
        encoded: The stream with the first bit of a code in the highest free bit, as FillOrder 1 has it.

    Raises:
        ImageReadError: The stream has such a code, or more codes than the table has places.
    """
    stream, position, n_used = np.frombuffer(encoded + b'\0\0\0', np.uint8), 0, 0
    while True:
        # Many Clear codes that follow each other closely, which only a hostile stream has, are passed over together.
        if n_used < _N_SHORT:
            position += 9 * _find_last_clear(_read_codes(stream, position, _RUN_BEGINS, _RUN_WIDTHS))
        codes = _read_codes(stream, position, _BEGINS, _WIDTHS)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        n_used = int(ends[0]) if len(ends) else len(codes)
        if (codes[:n_used] > _GREATEST[:n_used]).any() or (not len(ends) and len(codes) == len(_WIDTHS)):
            _refuse()
        if not len(ends) or codes[n_used] == _END:
            return
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


def _find_last_clear(codes: np.ndarray) -> int:
    """Checks codes of 9 bits up to a Clear code, and returns how many these are, with the Clear code.

    The Clear code is the last one before an End code, before a string of codes that is too long for 9 bits, and before
    the end.
    """
    places = np.arange(len(codes))
    # The place after the last Clear code: at first of those up to each place, then of those before it.
    begins = np.maximum.accumulate(np.where(codes == _CLEAR, places + 1, 0))
    begins_before = np.concatenate([[0], begins])
    distances = places - begins_before[:-1]
    stops = np.flatnonzero((codes == _END) | (distances >= _N_SHORT))
    n_codes = int(begins_before[stops[0] if len(stops) else -1])
    is_code = codes[:n_codes] != _CLEAR
    if (codes[:n_codes][is_code] > _GREATEST[distances[:n_codes][is_code]]).any():
        _refuse()
    return n_codes


def _refuse() -> None:
    raise ImageReadError('is damaged: its LZW codes have no meaning')
