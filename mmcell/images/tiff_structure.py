"""The images that the headers of a TIFF list, found in bounded time and memory before tifffile opens the file.

tifffile follows the list of images wherever it leads, also in a circle, and reads tags of any size. It passes over tags
that it cannot read, so that an image with a damaged tag would be taken for another kind of image.
"""

import os
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
# Those that may have several values.
_LISTS = {258, 273, 278, 279, 320, 324, 325, 330, 338, 339, 530}
# Those whose values are needed here.
_DESCRIBING = {254, 255, 256, 257, 258, 277, 330}
_IS_STRUCTURAL = np.isin(np.arange(1 << 16), list(_STRUCTURAL))
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


def list_images(file: BinaryIO) -> list[ListedImage]:
    """Lists the images of a TIFF: those of the main list, then those below them.

    Args:
        file: An open file whose first bytes are those of a TIFF. NDPI is known by its name.

    Raises:
        ImageReadError: The headers are damaged or contradict each other, run in a circle, or exceed ``LIMITS``.
    """
    return _Parser(file).list_images()


class _Parser:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.n_file_bytes = os.fstat(file.fileno()).st_size
        file.seek(0)
        begin = file.read(4)
        self.order, is_big = '<' if begin[:2] == b'II' else '>', 43 in begin[2:4]
        # NDPI files are classic TIFFs with 32 further bits per value and position.
        self.is_ndpi = not is_big and self.order == '<' and file.name.lower().endswith('.ndpi')
        self.first_offset_at = 8 if is_big else 4
        self.count_type = np.dtype(f'{self.order}u{8 if is_big else 2}')
        self.offset_type = np.dtype(f'{self.order}u{8 if is_big or self.is_ndpi else 4}')
        # The value of a tag is the position of its numbers or, if they need no more bytes than it, the numbers.
        short, long = f'{self.order}u2', f'{self.order}u{8 if is_big else 4}'
        self.tag_type = np.dtype([('code', short), ('type', short), ('count', long), ('value', long)])
        self.seen: set[int] = set()
        self.n_header_bytes = 0

    def list_images(self) -> list[ListedImage]:
        images, below = [], []
        offset = self._read_numbers(self.first_offset_at, self.offset_type, 1, 'is cut short: it is only the '
                                                                               'beginning of a TIFF')[0]
        while offset:
            numbers, offset = self._read_image(int(offset), f'image {len(images) + 1}')
            below += [(len(images), int(sub_offset)) for sub_offset in numbers.get(330, ()) if sub_offset]
            images.append(self._describe(numbers, len(images), False))
        if not images:
            raise ImageReadError('is a TIFF without an image: save it again')
        for index, offset in below:
            numbers, _ = self._read_image(offset, f'an image below image {index + 1}')
            images.append(self._describe(numbers, index, True))
        return images

    def _read_image(self, offset: int, name: str) -> tuple[dict[int, np.ndarray], int]:
        """Returns the structural tags of the image whose header begins at a position, and where the next one begins."""
        if offset in self.seen:
            raise ImageReadError('is damaged: its list of images runs in a circle: save it again')
        self.seen.add(offset)
        if len(self.seen) > LIMITS.pages:
            refuse('pages', 'lists too many images', 'save each image in its own file')
        missing = f'is cut short or damaged: the header of {name} lies outside the file'
        n_tags = int(self._read_numbers(offset, self.count_type, 1, missing)[0])
        if n_tags > _MAX_TAGS:
            raise ImageReadError(f'is damaged: the header of {name} has {n_tags:,} tags')
        begin = offset + self.count_type.itemsize
        tags = self._read_numbers(begin, self.tag_type, n_tags, missing)
        content, end = tags.tobytes(), begin + tags.nbytes
        next_offset = int(self._read_numbers(end, self.offset_type, 1, missing)[0])
        high = ([int(number) << 32 for number in self._read_numbers(end + 8, np.dtype('<u4'), n_tags, missing)]
                if self.is_ndpi else None)
        sizes = _TYPE_BYTES[tags['type']] * tags['count'].astype(np.float64)
        self.n_header_bytes += len(content) + sizes[sizes <= self.n_file_bytes].sum()
        if self.n_header_bytes > LIMITS.header_bytes:
            refuse('header_bytes', 'has too many bytes of headers', 'save it in larger tiles, or without its metadata')
        numbers: dict[int, np.ndarray] = {}
        selected = np.flatnonzero(_IS_STRUCTURAL[tags['code']])
        for i, (code, kind, count, value) in zip(selected.tolist(), tags[selected].tolist(), strict=True):
            tag_name = f'the tag {_STRUCTURAL[code]} of {name}'
            if code in numbers:
                raise ImageReadError(f'is damaged: {tag_name} occurs twice')
            if kind not in _UNSIGNED or not count or (count > 1 and code not in _LISTS):
                raise ImageReadError(f'is damaged: {tag_name} is not a number')
            dtype, inline = np.dtype(self.order + _UNSIGNED[kind]), self.tag_type['value'].itemsize
            if dtype.itemsize * count <= inline:
                numbers[code] = np.frombuffer(content, dtype, count, (i + 1) * tags.itemsize - inline)
            else:
                numbers[code] = self._read_numbers(value + (high[i] if high else 0), dtype, count, 'is cut short or '
                                                   f'damaged: {tag_name} lies outside the file',
                                                   is_needed=code in _DESCRIBING)
        return numbers, next_offset

    def _read_numbers(self, begin: int, dtype: np.dtype, count: int, missing: str, is_needed: bool = True,
                      ) -> np.ndarray:
        """Reads numbers from the file; if they are not needed, only checks that the file has them."""
        if begin + dtype.itemsize * count > self.n_file_bytes:
            raise ImageReadError(missing)
        if not is_needed:
            return np.zeros(0, dtype)
        self.file.seek(begin)
        return np.frombuffer(self.file.read(dtype.itemsize * count), dtype)

    def _describe(self, numbers: dict[int, np.ndarray], index: int, is_below: bool) -> ListedImage:
        def first(code: int, default: int) -> int:
            return int(numbers[code][0]) if code in numbers else default

        height, width = first(257, 0), first(256, 0)
        if not height or not width:
            raise ImageReadError(f'is damaged: image {index + 1} is {width} x {height} px: save it again')
        # The old tag SubfileType has 2 for reduced copies.
        kind = first(254, 0) or int(first(255, 0) == 2)
        return ListedImage(index, height, width, first(277, 1), first(258, 1), kind, is_below)
