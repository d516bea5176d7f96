"""Rectangles of a TIFF page, decoded from the tiles or strips that they touch."""

from collections import OrderedDict

import numpy as np
import tifffile

_CACHED_BYTES = 128 * 2**20
# Decoded at once, whatever part of it is wanted.
_MAX_SEGMENT_BYTES = 2**30
_JPEG = (6, 7, 33007, 34892)


class PageReader:
    """Reads rectangles of one page.

    Samples that lie uncompressed in one piece are read row by row. Else the tiles or strips that a rectangle touches
    are decoded, and the last 128 MiB of them kept.

    Args:
        page: of an open file; a plane of height and width, samples interleaved or as planes.

    Raises:
        ValueError: a tile or strip has more than 1 GiB.
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
            what = 'tiles' if page.is_tiled else 'compressed strips'
            raise ValueError(f'its {what} are {self.segment_width}x{self.segment_height} px each, '
                             f'{n_bytes / 2**30:.1f} GiB: save it in smaller tiles')

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Stored samples (y1 - y0, x1 - x0, C) of a rectangle inside the page."""
        if self.is_plain:
            dtype = self.page.dtype.newbyteorder(self.page.parent.byteorder)
            # Mapped anew each time: pages of memory that were read are given back.
            mapped = np.memmap(self.page.parent.filehandle.path, dtype, 'r', self.page.dataoffsets[0],
                               (self.height, self.width, self.n_samples))
            return np.array(mapped[y0:y1, x0:x1], self.page.dtype)
        samples = np.full((self.n_planes, y1 - y0, x1 - x0, self.n_samples // self.n_planes),
                          self.page.nodata, self.page.dtype)
        n_x, n_y = -(-self.width // self.segment_width), -(-self.height // self.segment_height)
        for plane in range(self.n_planes):
            for row in range(y0 // self.segment_height, -(-y1 // self.segment_height)):
                for column in range(x0 // self.segment_width, -(-x1 // self.segment_width)):
                    self._paste(samples[plane], (plane * n_y + row) * n_x + column, x0, y0,
                                column * self.segment_width, row * self.segment_height)
        return np.concatenate(list(samples), axis=2)

    def _paste(self, samples: np.ndarray, index: int, x0: int, y0: int, x_segment: int, y_segment: int) -> None:
        """Copies what a segment has of the rectangle from (x0, y0) on; a missing segment has nothing."""
        segment = self._decode(index)
        if segment is None:
            return
        target = samples[max(y_segment - y0, 0):, max(x_segment - x0, 0):]
        source = segment[max(y0 - y_segment, 0):, max(x0 - x_segment, 0):]
        height, width = np.minimum(target.shape[:2], source.shape[:2])
        target[:height, :width] = source[:height, :width]

    def _decode(self, index: int) -> np.ndarray | None:
        """Samples (h, w, C) of one tile or strip; None where the file has none."""
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
