"""The images that the headers of a TIFF list, found in bounded time and memory before tifffile opens the file.

tifffile follows the list of images wherever it leads, also in a circle, and reads tags of any size. It passes over tags
that it cannot read, so that an image with a damaged tag would be taken for another kind of image.
"""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from mmcell.images.limits import LIMITS, ImageReadError, refuse

# Bytes per value of the types of tags. Source: TIFF 6.0, page 15, and BigTIFF (types 16 to 18).
_TYPE_BYTES = np.zeros(1 << 16)
_TYPE_BYTES[1:14] = 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4
_TYPE_BYTES[16:19] = 8
_UNSIGNED = {1: 'u1', 3: 'u2', 4: 'u4', 13: 'u4', 16: 'u8', 18: 'u8'}
# Tags that decide what the pixels are. All of them are unsigned numbers.
_STRUCTURAL = {254: 'NewSubfileType', 255: 'SubfileType', 256: 'ImageWidth', 257: 'ImageLength', 258: 'BitsPerSample',
               259: 'Compression', 262: 'PhotometricInterpretation', 266: 'FillOrder', 273: 'StripOffsets',
               274: 'Orientation', 277: 'SamplesPerPixel', 278: 'RowsPerStrip', 279: 'StripByteCounts',
               284: 'PlanarConfiguration', 317: 'Predictor', 320: 'ColorMap', 322: 'TileWidth', 323: 'TileLength',
               324: 'TileOffsets', 325: 'TileByteCounts', 330: 'SubIFDs', 338: 'ExtraSamples', 339: 'SampleFormat',
               530: 'YCbCrSubSampling', 32997: 'ImageDepth', 32998: 'TileDepth'}
_MAX_TAGS = 4096


class ListedImage(NamedTuple):
    """An image that the headers of a TIFF list.

    Attributes:
        index: Position in the main list; for an image below another one (SubIFD), the position of the latter.
        height: Height in px.
        width: Width in px.
        n_samples: Number of samples per pixel.
        bits: Bits of the first sample.
        kind: Flags of NewSubfileType: 1 is a reduced copy of another image, 4 a transparency mask.
        is_below: Whether it is listed below another image (SubIFD).
    """

    index: int
    height: int
    width: int
    n_samples: int
    bits: int
    kind: int
    is_below: bool


class _Layout(NamedTuple):
    """How numbers are stored in a file. NDPI files are classic TIFFs with 32 further bits per value and position."""

    order: str
    is_big: bool
    is_ndpi: bool

    @property
    def tag(self) -> np.dtype:
        offset = f'{self.order}u{8 if self.is_big else 4}'
        return np.dtype([('code', f'{self.order}u2'), ('type', f'{self.order}u2'), ('count', offset), ('value', offset)])

    @property
    def next_offset(self) -> np.dtype:
        return np.dtype(f'{self.order}u{8 if self.is_big or self.is_ndpi else 4}')


def list_images(path: Path) -> list[ListedImage]:
    """Lists the images of a TIFF: those of the main list, then those below them.

    Args:
        path: A file whose first bytes are those of a TIFF.

    Raises:
        ImageReadError: The headers are damaged or contradict each other, run in a circle, or exceed ``LIMITS``.
    """
    with open(path, 'rb') as file:
        return _Parser(file, path).list_images()


class _Parser:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.n_file_bytes = os.fstat(file.fileno()).st_size
        begin = file.read(16)
        order, is_big = '<' if begin[:2] == b'II' else '>', 43 in begin[2:4]
        self.layout = _Layout(order, is_big, not is_big and order == '<' and path.suffix.lower() == '.ndpi')
        self.first_offset_at = 8 if is_big else 4
        self.seen: set[int] = set()
        self.n_header_bytes = 0

    def list_images(self) -> list[ListedImage]:
        images, below = [], []
        offset = self._read_numbers(self.first_offset_at, self.layout.next_offset, 1, 'is cut short: it is only the '
                                                                                      'beginning of a TIFF')[0]
        while offset:
            numbers, offset = self._read_image(int(offset), f'image {len(images) + 1}')
            below += [(len(images), int(sub_offset)) for sub_offset in numbers.get(330, ()) if sub_offset]
            images.append(self._describe(numbers, len(images), False))
        if not images:
            raise ImageReadError(f'{self.path}: is a TIFF without an image: save it again')
        for index, offset in below:
            numbers, _ = self._read_image(offset, f'an image below image {index + 1}')
            images.append(self._describe(numbers, index, True))
        return images

    def _read_image(self, offset: int, name: str) -> tuple[dict[int, np.ndarray], int]:
        """Returns the structural tags of the image whose header begins at a position, and where the next one begins."""
        if offset in self.seen:
            raise ImageReadError(f'{self.path}: is damaged: its list of images runs in a circle: save it again')
        self.seen.add(offset)
        if len(self.seen) > LIMITS.pages:
            refuse(self.path, 'pages', f'holds more than {LIMITS.pages:,} images', 'save each image in its own file')
        missing = f'is cut short or damaged: the header of {name} lies outside the file'
        count_type = np.dtype(f'{self.layout.order}u{8 if self.layout.is_big else 2}')
        n_tags = int(self._read_numbers(offset, count_type, 1, missing)[0])
        if n_tags > _MAX_TAGS:
            raise ImageReadError(f'{self.path}: is damaged: the header of {name} has {n_tags:,} tags')
        begin = offset + count_type.itemsize
        tags = self._read_numbers(begin, self.layout.tag, n_tags, missing)
        end = begin + tags.nbytes
        high = np.zeros(n_tags, np.uint64)
        next_offset = self._read_numbers(end, self.layout.next_offset, 1, missing)[0]
        if self.layout.is_ndpi:
            high = self._read_numbers(end + 8, np.dtype('<u4'), n_tags, missing).astype(np.uint64) << np.uint64(32)
        sizes = _TYPE_BYTES[tags['type']] * tags['count'].astype(np.float64)
        self.n_header_bytes += tags.nbytes + sizes[sizes <= self.n_file_bytes].sum()
        if self.n_header_bytes > LIMITS.header_bytes:
            refuse(self.path, 'header_bytes', f'has headers of more than {LIMITS.header_bytes:,} bytes',
                   'save it in larger tiles, or without its metadata')
        numbers = {}
        for i in np.flatnonzero(np.isin(tags['code'], list(_STRUCTURAL))):
            code = int(tags['code'][i])
            if code in numbers:
                raise ImageReadError(f'{self.path}: is damaged: {name} has the tag {_STRUCTURAL[code]} twice')
            numbers[code] = self._read_tag(tags[i], begin + int(i) * self.layout.tag.itemsize, int(high[i]),
                                           f'the tag {_STRUCTURAL[code]} of {name}')
        return numbers, int(next_offset)

    def _read_tag(self, tag: np.void, tag_at: int, high: int, name: str) -> np.ndarray:
        kind = _UNSIGNED.get(int(tag['type']))
        if kind is None or not tag['count']:
            raise ImageReadError(f'{self.path}: is damaged: {name} is not a number')
        dtype, count = np.dtype(self.layout.order + kind), int(tag['count'])
        inline = self.layout.tag['value'].itemsize
        is_inline = dtype.itemsize * count <= inline
        value_at = tag_at + self.layout.tag.itemsize - inline if is_inline else int(tag['value']) + high
        return self._read_numbers(value_at, dtype, count, f'is cut short or damaged: {name} lies outside the file')

    def _read_numbers(self, begin: int, dtype: np.dtype, count: int, missing: str) -> np.ndarray:
        if begin + dtype.itemsize * count > self.n_file_bytes:
            raise ImageReadError(f'{self.path}: {missing}')
        self.file.seek(begin)
        return np.frombuffer(self.file.read(dtype.itemsize * count), dtype)

    def _describe(self, numbers: dict[int, np.ndarray], index: int, is_below: bool) -> ListedImage:
        def first(code: int, default: int) -> int:
            return int(numbers[code][0]) if code in numbers else default

        height, width = first(257, 0), first(256, 0)
        if not height or not width:
            raise ImageReadError(f'{self.path}: is damaged: image {index + 1} is {width} x {height} px: save it again')
        # The old tag SubfileType has 2 for reduced copies.
        kind = first(254, 0) or int(first(255, 0) == 2)
        return ListedImage(index, height, width, first(277, 1), first(258, 1), kind, is_below)
