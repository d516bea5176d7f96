"""Rectangles of a TIFF page, decoded from the tiles or strips that they touch."""

import copy
from collections.abc import Sequence
from functools import cached_property

import imagecodecs
import numpy as np
import tifffile

from mmcell.images.headers import Header, check_jpeg, read_header
from mmcell.images.limits import LIMITS, ImageReadError, check_expansion, errors_about, refuse
from mmcell.images.lzw import decode_lzw
from mmcell.images.segment_cache import SegmentCache

# Compression schemes that are read. The sizes that pictures of the second list claim are compared with the size of
# their tile or strip before they are decoded.
_STREAMS = {1: 'none', 2: 'CCITT RLE', 3: 'CCITT Group 3', 4: 'CCITT Group 4', 5: 'LZW', 8: 'deflate',
            32773: 'PackBits', 32946: 'deflate', 34925: 'LZMA', 34926: 'Zstandard', 50000: 'Zstandard',
            50013: 'deflate'}
_PICTURES = {7: 'JPEG', 33004: 'JPEG 2000', 33005: 'JPEG 2000', 34712: 'JPEG 2000', 34887: 'LERC', 34927: 'WebP',
             34933: 'PNG', 50001: 'WebP', 50002: 'JPEG XL', 52546: 'JPEG XL'}
_LZW, _JPEG = 5, 7
# After these compressions (none, PackBits and LERC), tifffile undoes differences between pixels (the predictor), and
# libtiff does not.
_DISPUTED_PREDICTOR = {1, 32773, 34887}


class PageReader:
    """Reads rectangles of one page.

    If the samples lie in the file uncompressed and in one piece, only the rows of the rectangle are read. Otherwise the
    segments (tiles or strips) that the rectangle touches are decoded, and kept as :class:`SegmentCache` says, because
    neighbouring rectangles touch the same segments.

    Args:
        page: Page of an open file with one plane of height and width; its samples are interleaved or stored as one
            plane per channel.

    Attributes:
        is_lossy: Whether a segment was decoded whose pixels may differ from those that were saved.

    Raises:
        ImageReadError: The page is compressed with a codec that is not read, has samples of an unknown type, lies
            partly outside the file, or exceeds ``LIMITS``.
    """

    def __init__(self, page: tifffile.TiffPage) -> None:
        self.page = page
        self.segment_name = 'tile' if page.is_tiled else 'strip'
        self._check_kind()
        self.n_planes, _, self.height, self.width, n_interleaved = page.shaped
        self.n_samples = self.n_planes * n_interleaved
        self.is_plain = page.is_final and not page.is_tiled and self.n_planes == 1
        self.segment_height = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.height)
        self.segment_width = page.tilewidth if page.is_tiled else self.width
        self.is_lossy = False
        self._cache = SegmentCache()
        check_expansion(self.height * self.width * self.n_samples * page.dtype.itemsize, page.parent.filehandle.size)
        self._check_segments(n_interleaved)

    def _check_kind(self) -> None:
        page = self.page
        if page.compression not in _STREAMS | _PICTURES:
            name = getattr(page.compression, 'name', page.compression)
            raise ImageReadError(f'is compressed with {name}, which is not read: save it without compression, or with '
                                 'LZW or deflate')
        if page.dtype is None:
            raise ImageReadError(f'has samples of {page.bitspersample} bits and format '
                                 f'{getattr(page.sampleformat, "name", page.sampleformat)}, which are not read: '
                                 'save it as uint8 or uint16')
        if page.is_mdgel:
            raise ImageReadError('is a gel image, whose values have a scale of their own: save it as an ordinary TIFF')
        for tag, value in (('PlanarConfiguration', page.planarconfig), ('FillOrder', page.fillorder)):
            if value not in (1, 2):
                raise ImageReadError(f'is damaged: its tag {tag} is {value}, but can be only 1 or 2')
        if page.is_subsampled and (page.compression != _JPEG or page.planarconfig != 1):
            raise ImageReadError('has colours of kind YCBCR that are stored at a lower resolution, which are only read '
                                 'from JPEG with interleaved channels: convert it')
        if page.predictor not in (1, 2, 3) or (page.predictor != 1 and page.bitspersample not in (8, 16, 32, 64)):
            raise ImageReadError(f'has the predictor {page.predictor} with {page.bitspersample} bits, which is not '
                                 'read: save it without a predictor')
        if page.predictor != 1 and page.compression in _DISPUTED_PREDICTOR:
            raise ImageReadError('has a predictor with a compression for which programs read it in different ways: '
                                 'save it without a predictor')

    def _check_segments(self, n_interleaved: int) -> None:
        """Checks number, size and place of the segments; all of them, because only the first read may be small."""
        page, name = self.page, self.segment_name
        n_file_bytes = page.parent.filehandle.size
        if min(self.segment_height, self.segment_width) < 1:
            raise ImageReadError(f'is damaged: its {name}s are {self.segment_width} x {self.segment_height} px')
        if not page.dataoffsets:
            raise ImageReadError('is damaged: it does not state where its pixels are')
        if self.is_plain:
            if page.dataoffsets[0] < 8 or page.dataoffsets[0] + page.nbytes > n_file_bytes:
                raise ImageReadError('is cut short or damaged: its pixels lie partly outside the file')
            return
        n_bytes = self.segment_height * self.segment_width * n_interleaved * page.dtype.itemsize
        if n_bytes > LIMITS.segment_bytes:
            refuse('segment_bytes', f'has {name}s of {self.segment_width}x{self.segment_height} px, which have '
                   f'{n_bytes:,} bytes when decoded', 'save it in smaller tiles')
        # Rows and columns of segments in one plane; -(-a // b) divides and rounds up.
        self._grid = -(-self.height // self.segment_height), -(-self.width // self.segment_width)
        n_segments = self.n_planes * self._grid[0] * self._grid[1]
        if not len(page.dataoffsets) == len(page.databytecounts) == n_segments:
            raise ImageReadError(f'is damaged: it states {len(page.dataoffsets)} positions and '
                                 f'{len(page.databytecounts)} sizes of {name}s, but has {n_segments} {name}s')
        begins, sizes = (np.array(numbers, np.uint64) for numbers in (page.dataoffsets, page.databytecounts))
        # A tile without bytes is background. Slide scanners leave out tiles; strips are left out with position 0.
        is_missing = (sizes == 0) & (page.is_tiled | (begins == 0))
        if is_missing.all():
            raise ImageReadError(f'has no pixels: all its {name}s are missing')
        is_bad = ~is_missing & ((begins < 8) | (sizes == 0) | (sizes > n_file_bytes) | (begins > n_file_bytes - sizes))
        if is_bad.any():
            raise ImageReadError(f'is cut short or damaged: {name} {is_bad.argmax() + 1} of {len(begins)} lies outside '
                                 'the file')

    def expect(self, rects_xyxy: Sequence[tuple[int, int, int, int]]) -> None:
        """Announces the rectangles that will be read, in their order, so that each segment is decoded only once."""
        if not self.is_plain:
            self._cache.expect([self._span(*rect) for rect in rects_xyxy], self._grid)

    def _span(self, x0: int, y0: int, x1: int, y1: int) -> tuple[int, int, int, int]:
        """Returns the columns and rows of segments that a rectangle touches: first, and one past the last."""
        height, width = self.segment_height, self.segment_width
        return x0 // width, y0 // height, -(-x1 // width), -(-y1 // height)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle inside the page, in the dtype of the page.

        Segments are numbered row by row, one plane after the other. Example: a page of 20 rows and 40 columns with
        tiles of 16 x 16 px has n_y = 2 rows of n_x = 3 tiles; the tiles of its first plane are 0 to 5, of its second 6
        to 11. The rectangle of the columns 10 to 34 and the rows 12 to 17 touches the tile columns 10 // 16 = 0 to
        -(-35 // 16) - 1 = 2 and the tile rows 12 // 16 = 0 to -(-18 // 16) - 1 = 1, hence all six tiles of each plane.

        Raises:
            ImageReadError: A segment is damaged. Codecs raise further errors.
        """
        if self.is_plain:
            dtype = self.page.dtype.newbyteorder(self.page.parent.byteorder)
            # The file is mapped again for each rectangle: all parts of a mapping that were ever read count as memory of
            # the process until the mapping is closed.
            mapped = self.page.parent.filehandle.memmap_array(dtype, (self.height, self.width, self.n_samples),
                                                              self.page.dataoffsets[0])
            return np.array(mapped[y0:y1, x0:x1], self.page.dtype)
        samples = np.full((self.n_planes, y1 - y0, x1 - x0, self.n_samples // self.n_planes),
                          self.page.nodata, self.page.dtype)
        n_y, n_x = self._grid
        first_column, first_row, end_column, end_row = span = self._span(x0, y0, x1, y1)
        self._cache.begin(span)
        for plane in range(self.n_planes):
            for row in range(first_row, end_row):
                for column in range(first_column, end_column):
                    self._paste(samples[plane], (plane * n_y + row) * n_x + column, x0, y0,
                                column * self.segment_width, row * self.segment_height)
        return samples[0] if self.n_planes == 1 else np.concatenate(list(samples), axis=2)

    def _paste(self, samples: np.ndarray, index: int, x0: int, y0: int, x_segment: int, y_segment: int) -> None:
        """Copies the common part of a segment and the rectangle into the samples of the rectangle."""
        segment = self._decode(index, min(self.height - y_segment, self.segment_height),
                               min(self.width - x_segment, self.segment_width))
        if segment is None:
            return
        # In the example of read(), segment[12:, 10:] of tile 0 becomes samples[0:4, 0:6]; tile 4, samples[4:, 6:].
        target = samples[max(y_segment - y0, 0):, max(x_segment - x0, 0):]
        source = segment[max(y0 - y_segment, 0):, max(x0 - x_segment, 0):]
        height, width = np.minimum(target.shape[:2], source.shape[:2])
        target[:height, :width] = source[:height, :width]

    def _decode(self, index: int, height: int, width: int) -> np.ndarray | None:
        """Returns the samples (h, w, C) of a segment, which has height x width px in the image; None if missing."""
        if index in self._cache:
            return self._cache.get(index)
        page, file = self.page, self.page.parent.filehandle
        encoded, _ = next(file.read_segments([page.dataoffsets[index]], [page.databytecounts[index]], [index]))
        name = f'{self.segment_name} {index + 1}'
        header = None
        if encoded is not None and page.compression in _PICTURES and page.jpegheader is None:
            with errors_about(f'{name} '):
                header = read_header(encoded)
            self._check_picture(header, name, height, width)
        if encoded is not None and page.compression == _LZW:
            n_bytes = self._stored_bytes(self.segment_height if page.is_tiled else height)
            encoded = decode_lzw(imagecodecs.bitorder_decode(encoded) if page.fillorder == 2 else encoded, n_bytes)
            page = self._without_codec
        jpeg = {'jpegtables': page.jpegtables, 'jpegheader': page.jpegheader} if page.compression == _JPEG else {}
        decoded = page.decode(encoded, index, **jpeg)[0]
        segment = None if decoded is None else decoded[0]
        if segment is not None and (segment.shape[0] < height or segment.shape[1] < width):
            raise ImageReadError(f'is damaged: segment {index + 1} is incomplete')
        if segment is not None and header is not None and header.kind == 'JPEG':
            with errors_about(f'{name} '):
                check_jpeg(header, encoded, segment[:header.height, :header.width], page.jpegtables)
        self._cache.put(index, segment)
        return segment

    @cached_property
    def _without_codec(self) -> tifffile.TiffPage:
        """The page with a method ``decode`` that expects what the codec has returned."""
        page = copy.copy(self.page)
        for key in ('hash', 'decode'):
            page.__dict__.pop(key, None)
        page.compression, page.fillorder = 1, 1
        return page

    def _stored_bytes(self, n_rows: int) -> int:
        """Returns the number of bytes of rows of a segment; samples of fewer than 8 bits are packed row by row."""
        n_samples, n_bits = self.n_samples // self.n_planes, 8 * self.page.dtype.itemsize
        if isinstance(self.page.bitspersample, int):
            n_bits = self.page.bitspersample
        return n_rows * -(-self.segment_width * n_samples * n_bits // 8)

    def _check_picture(self, header: Header | None, name: str, height: int, width: int) -> None:
        """Compares what the picture in a segment claims with what the page says, before the picture is decoded."""
        expected = _PICTURES[self.page.compression]
        if header is None or header.kind != expected:
            raise ImageReadError(f'is damaged: {name} is not {expected}')
        if not (height <= header.height <= self.segment_height and width <= header.width <= self.segment_width
                and header.n_channels <= max(4, self.n_samples)):
            raise ImageReadError(f'is damaged: {name} is a picture of {header.width} x {header.height} px '
                                 f'with {header.n_channels} channels instead of {width} x {height} px')
        self.is_lossy |= not header.is_lossless
