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
# The greatest code that the table can have at each place. The first code must stand for a byte.
_GREATEST = 257 + np.arange(len(_WIDTHS))
_GREATEST[0] = 255


def check_lzw(encoded: bytes) -> None:
    """Refuses an LZW stream with a code that is not in the table at its place, in time that grows with its length.

    Args:
        encoded: The stream with the first bit of a code in the highest free bit, as FillOrder 1 has it.

    Raises:
        ImageReadError: The stream has such a code, or more codes than the table has places.
    """
    n_bits = 8 * len(encoded)
    padded = np.frombuffer(encoded + b'\0\0\0', np.uint8).astype(np.uint32)
    position = 0
    while True:
        begins = position + _BEGINS
        n_codes = int(np.searchsorted(begins + _WIDTHS, n_bits, 'right'))
        begins, widths = begins[:n_codes], _WIDTHS[:n_codes]
        byte = begins >> 3
        three = padded[byte] << 16 | padded[byte + 1] << 8 | padded[byte + 2]
        codes = three >> (24 - (begins & 7) - widths).astype(np.uint32) & ((1 << widths) - 1).astype(np.uint32)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        n_used = int(ends[0]) if len(ends) else n_codes
        if (codes[:n_used] > _GREATEST[:n_used]).any() or (not len(ends) and n_codes == len(_WIDTHS)):
            raise ImageReadError('is damaged: its LZW codes have no meaning')
        if not len(ends) or codes[n_used] == _END:
            return
        position = int(begins[n_used] + widths[n_used])
