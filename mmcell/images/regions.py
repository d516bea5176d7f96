"""Images of any size, read rectangle by rectangle as RGB uint8; the rules are those of ``mmcell.images.pixels``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import tifffile

from mmcell.images.pixels import (
    CHANNEL_ORDERS,
    ImageReadError,
    interpret_tiff,
    is_tiff,
    read_image,
    stretch_between,
    to_uint8,
)
from mmcell.images.tiff_pages import PageReader

# Rows that are looked at together for percentiles.
_ROWS = 512


class Regions(Protocol):
    """An image of height and width in px, in which rectangles can be read."""

    height: int
    width: int

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """(y1 - y0, x1 - x0, 3) uint8, RGB."""


@contextmanager
def open_regions(path: str | Path, channel_order: str = 'rgb',
                 percentiles: tuple[float, float] | None = None) -> Iterator[Regions]:
    """Opens an image for reading in parts.

    A TIFF, BigTIFF or pyramid of one plane (of a pyramid its full resolution; of a slide the series that tifffile
    calls Baseline) is read tile by tile or strip by strip. Everything else (other formats, TIFFs with channels on pages
    of their own) is read whole into memory.

    Args:
        path: as :func:`mmcell.images.pixels.read_image`, whose rules for colours and types hold.
        channel_order: 'rgb' or 'bgr'.
        percentiles: (low, high) in percent, of the whole image; integers of up to 16 bits alone. The image is read
            once more for them.

    Raises:
        FileNotFoundError: there is no such file.
        ImageReadError: it cannot be read; also while a rectangle is read.
        ValueError: channel_order is neither 'rgb' nor 'bgr'.
    """
    path = Path(path)
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if not is_tiff(path):
        yield ArrayRegions(read_image(path, channel_order, percentiles))
        return
    with _explained(path):
        tiff = tifffile.TiffFile(path)
    with tiff:
        with _explained(path):
            page = _full_resolution(tiff, path)
        if page is None:
            yield ArrayRegions(read_image(path, channel_order, percentiles))
        else:
            with _explained(path):
                regions = TiffRegions(page, path, channel_order, percentiles)
            yield regions


class ArrayRegions:
    """Rectangles of an image in memory.

    Args:
        image: (H, W, 3) uint8, RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.height, self.width = image.shape[:2]

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """See :class:`Regions`."""
        return self.image[y0:y1, x0:x1]


class TiffRegions:
    """Rectangles of one page of an open TIFF; see :func:`open_regions`."""

    def __init__(self, page: tifffile.TiffPage, path: Path, channel_order: str,
                 percentiles: tuple[float, float] | None) -> None:
        self.path = path
        self.is_bgr = channel_order == 'bgr'
        self.reader = PageReader(page)
        self.height, self.width = self.reader.height, self.reader.width
        self.contrast = None if percentiles is None else self._find_percentiles(percentiles)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """See :class:`Regions`.

        Raises:
            ImageReadError: the file is damaged.
        """
        with _explained(self.path):
            colors = self._read_colors(x0, y0, x1, y1)
        image = to_uint8(colors, self.path) if self.contrast is None else stretch_between(
            colors.astype(np.float32), *self.contrast)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return np.ascontiguousarray(image[:, :, ::-1] if self.is_bgr else image)

    def _read_colors(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return interpret_tiff(self.reader.read(x0, y0, x1, y1), self.reader.page, self.path)

    def _find_percentiles(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Values (2, C) float32 of two percentiles of each channel: numpy's, from a histogram of all pixels."""
        dtype = self._read_colors(0, 0, 1, 1).dtype
        if dtype.kind not in 'ub' or dtype.itemsize > 2:
            raise ImageReadError(f'{self.path}: has pixels of type {dtype}; percentiles of an image that is read in '
                                 'parts need uint8 or uint16')
        counts = 0
        for y0 in range(0, self.height, _ROWS):
            colors = self._read_colors(0, y0, self.width, min(y0 + _ROWS, self.height))
            counts = counts + np.stack([np.bincount(channel.ravel(), minlength=1 << 16)
                                        for channel in np.moveaxis(colors, 2, 0)])
        ends = np.cumsum(counts, axis=1)
        place = (self.height * self.width - 1) * np.array(percentiles) / 100
        low, high = (np.stack([np.searchsorted(end, rank, side='right') for end in ends], axis=1)
                     for rank in (np.floor(place), np.ceil(place)))
        return (low + (high - low) * (place % 1)[:, None]).astype(np.float32)


def _full_resolution(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPage | None:
    """The page with the whole image; None where it is on several pages."""
    series = [one for one in tiff.series if one.name == 'Baseline'] or tiff.series
    if len(series) > 1:
        raise ImageReadError(f'{path}: holds {len(series)} images; one expected')
    level = series[0].levels[0]
    page = level.pages[0]
    is_one_plane = (len(level.pages) == 1 and page is not None and page.keyframe.shaped[1] == 1
                    and level.size == page.keyframe.size)
    return page.aspage() if is_one_plane else None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what tifffile and its codecs raise on a damaged file into an ImageReadError."""
    try:
        yield
    except (ImageReadError, MemoryError):
        raise
    except Exception as error:  # of many kinds
        raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error
