"""Rectangles of a TIFF page, decoded from the tiles or strips that they touch."""

from collections import OrderedDict

import numpy as np
import tifffile

_CACHED_BYTES = 128 * 2**20
# A tile or strip can only be decoded as a whole, however small the wanted part of it is.
_MAX_SEGMENT_BYTES = 2**30
# Compression schemes for which tifffile needs the JPEG tables of the page.
_JPEG = (6, 7, 33007, 34892)


class PageReader:
    """Reads rectangles of one page.

    If the samples lie in the file uncompressed and in one piece, only the rows of the rectangle are read. Otherwise the
    segments (tiles or strips) that the rectangle touches are decoded, and the last 128 MiB of them are kept, because
    neighbouring rectangles touch the same segments.

    Args:
        page: Page of an open file with one plane of height and width; its samples are interleaved or stored as one
            plane per channel.

    Raises:
        ValueError: A tile or compressed strip has more than 1 GiB when decoded.
    """

    def __init__(self, page: tifffile.TiffPage) -> None:
        self.page = page
        self.n_planes, _, self.height, self.width, n_interleaved = page.shaped
        self.n_samples = self.n_planes * n_interleaved
        self.is_plain = page.is_final and not page.is_tiled and self.n_planes == 1
        self.segment_height = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.height)
        self.segment_width = page.tilewidth if page.is_tiled else self.width
        self._cache: OrderedDict[int, np.ndarray | None] = OrderedDict()
        self._cached_bytes = 0
        n_bytes = self.segment_height * self.segment_width * n_interleaved * page.dtype.itemsize
        if not self.is_plain and n_bytes > _MAX_SEGMENT_BYTES:
            kind = 'tiles' if page.is_tiled else 'compressed strips'
            raise ValueError(f'its {kind} are {self.segment_width}x{self.segment_height} px each, which is '
                             f'{n_bytes / 2**30:.1f} GiB when decoded; at most {_MAX_SEGMENT_BYTES / 2**30:.3g} GiB is '
                             'allowed: save it in smaller tiles')

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle inside the page, in the dtype of the page.

        Segments are numbered row by row, one plane after the other. Example: a page of 20 rows and 40 columns with
        tiles of 16 x 16 px has n_y = 2 rows of n_x = 3 tiles; the tiles of its first plane are 0 to 5, of its second 6
        to 11. The rectangle of the columns 10 to 34 and the rows 12 to 17 touches the tile columns 10 // 16 = 0 to
        -(-35 // 16) - 1 = 2 and the tile rows 12 // 16 = 0 to -(-18 // 16) - 1 = 1, hence all six tiles of each plane.
        """
        if self.is_plain:
            dtype = self.page.dtype.newbyteorder(self.page.parent.byteorder)
            # The file is mapped again for each rectangle: all parts of a mapping that were ever read count as memory of
            # the process until the mapping is closed.
            mapped = np.memmap(self.page.parent.filehandle.path, dtype, 'r', self.page.dataoffsets[0],
                               (self.height, self.width, self.n_samples))
            return np.array(mapped[y0:y1, x0:x1], self.page.dtype)
        samples = np.full((self.n_planes, y1 - y0, x1 - x0, self.n_samples // self.n_planes),
                          self.page.nodata, self.page.dtype)
        # -(-a // b) divides and rounds up.
        n_x, n_y = -(-self.width // self.segment_width), -(-self.height // self.segment_height)
        for plane in range(self.n_planes):
            for row in range(y0 // self.segment_height, -(-y1 // self.segment_height)):
                for column in range(x0 // self.segment_width, -(-x1 // self.segment_width)):
                    self._paste(samples[plane], (plane * n_y + row) * n_x + column, x0, y0,
                                column * self.segment_width, row * self.segment_height)
        return np.concatenate(list(samples), axis=2)

    def _paste(self, samples: np.ndarray, index: int, x0: int, y0: int, x_segment: int, y_segment: int) -> None:
        """Copies the common part of a segment and the rectangle into the samples of the rectangle.

        In the example of :meth:`read`, tile 0 begins left of and above the rectangle: its lower right corner, 4 rows
        ``segment[12 - 0:]`` of 6 columns ``[10 - 0:]``, is copied to the upper left corner of the samples. Tile 4
        begins at (16, 16), inside the rectangle: it is copied to ``samples[16 - 12:, 16 - 10:]``, of which 2 rows of 16
        columns are common to both. A segment that the file lacks leaves the samples as they are.
        """
        segment = self._decode(index)
        if segment is None:
            return
        target = samples[max(y_segment - y0, 0):, max(x_segment - x0, 0):]
        source = segment[max(y0 - y_segment, 0):, max(x0 - x_segment, 0):]
        height, width = np.minimum(target.shape[:2], source.shape[:2])
        target[:height, :width] = source[:height, :width]

    def _decode(self, index: int) -> np.ndarray | None:
        """Returns the samples (h, w, C) of one tile or strip, or None if the file lacks it."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        page, file = self.page, self.page.parent.filehandle
        jpeg = {'jpegtables': page.jpegtables, 'jpegheader': page.jpegheader} if page.compression in _JPEG else {}
        encoded, _ = next(file.read_segments([page.dataoffsets[index]], [page.databytecounts[index]], [index]))
        decoded = page.decode(encoded, index, **jpeg)[0]
        segment = None if decoded is None else decoded[0]
        self._cache[index] = segment
        self._cached_bytes += 0 if segment is None else segment.nbytes
        while self._cached_bytes > _CACHED_BYTES and len(self._cache) > 1:
            oldest = self._cache.popitem(last=False)[1]
            self._cached_bytes -= 0 if oldest is None else oldest.nbytes
        return segment
