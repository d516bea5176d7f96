"""Arrays of numbers in .mat files of MATLAB 5 to 7.2.

SciPy's reader ends the process if a file says that an array is complex, but has no second part. This one reads only
arrays of real numbers, and checks sizes before it unpacks. Source of the format: MathWorks, "MAT-File Format".
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmcell.images.limits import ImageReadError

_HEADER_BYTES, _TAG_BYTES = 128, 8
_MATRIX, _COMPRESSED = 14, 15
# Types of numbers by the code of their element.
_DTYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
# The classes of arrays from double to uint64, and the flag of complex ones.
_NUMERIC_CLASSES, _IS_COMPLEX = range(6, 16), 0x800
# Flags, shape and name of an array need fewer bytes.
_HEAD_BYTES = 4096
_CUT = 'cannot be read as a .mat file: it is cut short or damaged'


@dataclass(frozen=True)
class MatArray:
    """An array in a .mat file.

    Attributes:
        name: Its name.
        shape: Its shape.
        is_numeric: Whether it has real numbers.
        order: The order of bytes, '<' or '>'.
        content: The bytes of the file, or those of the array if it is packed.
        is_packed: Whether ``content`` is to be unpacked.
        begin: Where the tag of the values begins, in the unpacked content.
    """

    name: str
    shape: tuple[int, ...]
    is_numeric: bool
    order: str
    content: bytes
    is_packed: bool
    begin: int

    def read(self) -> np.ndarray:
        """Returns the values, in the type in which they are stored.

        Raises:
            ImageReadError: It is damaged, or does not have real numbers.
        """
        if not self.is_numeric:
            raise ImageReadError(f'has the array {self.name}, which does not have real numbers')
        n_values = math.prod(self.shape)
        content = self.content
        try:
            if self.is_packed:
                # A few bytes more than there should be, so that the check sum behind them is compared.
                content = _unpack(content, self.begin + _TAG_BYTES + 8 * n_values + 64)
            code, begin, n_bytes, _ = _read_tag(content, self.begin, self.order)
        except (struct.error, zlib.error) as error:
            raise ImageReadError(_CUT) from error
        dtype = np.dtype(f'{self.order}{_DTYPES.get(code, "V1")}')
        if dtype.kind == 'V' or n_bytes != dtype.itemsize * n_values or begin + n_bytes > len(content):
            raise ImageReadError(f'{_CUT}: the array {self.name} has not as many numbers as its shape says')
        return np.frombuffer(content, dtype, n_values, begin).reshape(self.shape, order='F')


def list_arrays(content: bytes) -> dict[str, MatArray]:
    """Returns the arrays in a .mat file by their names.

    Raises:
        ImageReadError: The file is not one of MATLAB 5 to 7.2, or is damaged.
    """
    version, order = content[124:126], {b'IM': '<', b'MI': '>'}.get(content[126:128])
    if content.startswith(b'MATLAB 7.3') or content.startswith(b'\x89HDF'):
        raise ImageReadError('is a file of MATLAB 7.3: save it with save(…, "-v7")')
    if order is None or b'\1' not in version:
        raise ImageReadError('cannot be read as a .mat file: it is not one of MATLAB 5 to 7.2')
    arrays: dict[str, MatArray] = {}
    try:
        for array in _iterate(content, order):
            if array.name in arrays:
                raise ImageReadError(f'has two arrays {array.name[:60]!a}')
            arrays[array.name] = array
    except (struct.error, zlib.error) as error:
        raise ImageReadError(_CUT) from error
    return arrays


def _iterate(content: bytes, order: str) -> Iterator[MatArray]:
    position = _HEADER_BYTES
    while position + _TAG_BYTES <= len(content):
        code, begin, n_bytes, end = _read_tag(content, position, order)
        if begin + n_bytes > len(content):
            raise ImageReadError(_CUT)
        element = content[begin:begin + n_bytes]
        if code == _COMPRESSED:
            # Packed elements are followed by the next one without a gap.
            position = begin + n_bytes
            head = _unpack(element, _HEAD_BYTES)
            code, begin, _, _ = _read_tag(head, 0, order)
            yield from [_read_head(head, begin, element, True, order)] if code == _MATRIX else []
        else:
            position = end
            yield from [_read_head(element, 0, element, False, order)] if code == _MATRIX else []


def _unpack(content: bytes, max_bytes: int) -> bytes:
    return zlib.decompressobj().decompress(content, max_bytes)


def _read_tag(content: bytes, position: int, order: str) -> tuple[int, int, int, int]:
    """Returns the code of an element, where its data begin, their number of bytes, and where the next one begins."""
    code, n_bytes = struct.unpack_from(f'{order}II', content, position)
    if code >> 16:  # a small element, whose data lie in its tag
        return code & 0xffff, position + 4, min(code >> 16, 4), position + 8
    begin = position + _TAG_BYTES
    return code, begin, n_bytes, begin + -(-n_bytes // 8) * 8


def _read_head(head: bytes, position: int, content: bytes, is_packed: bool, order: str) -> MatArray:
    """Reads flags, shape and name of an array, which are the first elements in it."""
    _, begin, _, position = _read_tag(head, position, order)
    flags, = struct.unpack_from(f'{order}I', head, begin)
    _, begin, n_bytes, position = _read_tag(head, position, order)
    shape = struct.unpack_from(f'{order}{min(n_bytes // 4, 32)}i', head, begin)
    _, begin, n_bytes, position = _read_tag(head, position, order)
    name = head[begin:begin + min(n_bytes, 64)].decode('latin-1')
    if not shape or min(shape) < 0:
        raise ImageReadError(f'{_CUT}: the array {name!a} has the shape {shape}')
    is_numeric = flags & 0xff in _NUMERIC_CLASSES and not flags & _IS_COMPLEX
    return MatArray(name, shape, is_numeric, order, content, is_packed, position)
