"""Images of any size, read rectangle by rectangle as RGB uint8.

The rules for colours and pixel types are those of :func:`mmcell.images.pixels.read_image`, which uses this module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from mmcell.images.colors import find_percentiles, stretch_between, stretch_contrast, to_uint8
from mmcell.images.limits import ImageReadError
from mmcell.images.stored import StoredImage, open_stored

CHANNEL_ORDERS = ('rgb', 'bgr')


class Regions(Protocol):
    """An image from which rectangles can be read.

    Attributes:
        height: Height of the image in px.
        width: Width of the image in px.
    """

    height: int
    width: int

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads columns x0 to x1 - 1 of rows y0 to y1 - 1, as (y1 - y0, x1 - x0, 3) uint8, RGB."""


@contextmanager
def open_regions(path: str | Path, channel_order: str = 'rgb',
                 percentiles: tuple[float, float] | None = None) -> Iterator['ImageRegions']:
    """Opens an image so that rectangles of it can be read.

    A TIFF or BigTIFF is read tile by tile or strip by strip: from a pyramid or slide, the full resolution. Files of
    other formats are decoded as a whole when the first rectangle is read.

    Args:
        path: Image file of a kind that :func:`mmcell.images.pixels.read_image` reads.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent: each channel is stretched so that these percentiles of the whole image
            become 0 and 255. The image is read once more for it; as a whole, if its pixels are neither uint8 nor
            uint16. None: no stretch.

    Yields:
        The image.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read. Raised also by ``read``, if the damage shows only in a rectangle.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    with open_stored(path) as stored:
        yield ImageRegions(stored, channel_order == 'bgr', percentiles)


class ImageRegions:
    """Rectangles of an open image file; has the methods of :class:`Regions`.

    Args:
        stored: The open file.
        is_bgr: Whether the file holds blue first.
        percentiles: As in :func:`open_regions`.
    """

    def __init__(self, stored: StoredImage, is_bgr: bool, percentiles: tuple[float, float] | None) -> None:
        self.stored, self.is_bgr, self.percentiles = stored, is_bgr, percentiles
        self.height, self.width = stored.height, stored.width
        self._limits: np.ndarray | None = None
        self._stretched: np.ndarray | None = None

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as :meth:`Regions.read` does.

        Raises:
            ImageReadError: The file is damaged, or its pixels are of a type that is not read.
        """
        image = self._read_uint8(x0, y0, x1, y1)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return np.ascontiguousarray(image[:, :, ::-1] if self.is_bgr else image)

    def _read_uint8(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        if self._stretched is not None:
            return self._stretched[y0:y1, x0:x1]
        colors = self.stored.read_colors(x0, y0, x1, y1)
        if colors.dtype.kind == 'c':
            raise ImageReadError(f'{self.stored.path}: has complex values; real numbers are expected: save real part, '
                                 'magnitude or phase')
        if self.percentiles is None:
            return to_uint8(colors, self.stored.path, self.stored.bits)
        is_whole = colors.shape[:2] == (self.height, self.width)
        if colors.dtype not in (bool, np.uint8, np.uint16):
            self.stored.check_size()
            whole = colors if is_whole else self.stored.read_colors(0, 0, self.width, self.height)
            self._stretched = stretch_contrast(whole, *self.percentiles)
            return self._stretched[y0:y1, x0:x1]
        if self._limits is None:
            self._limits = find_percentiles([colors] if is_whole else self.stored.read_bands(), self.percentiles)
        return stretch_between(colors.astype(np.float32), *self._limits)
