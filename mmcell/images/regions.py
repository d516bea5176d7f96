"""Images of any size, read rectangle by rectangle as RGB uint8.

Colours and pixel types are converted by the same rules as in :mod:`mmcell.images.pixels`.
"""

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

# Percentiles are computed from bands of this many rows, one after the other, so that memory does not grow with the
# image.
_ROWS_PER_BAND = 512


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
                 percentiles: tuple[float, float] | None = None) -> Iterator[Regions]:
    """Opens an image so that rectangles of it can be read.

    A TIFF or BigTIFF whose image is one plane is read tile by tile or strip by strip: from a pyramid, the full
    resolution; from a slide, the series that tifffile calls Baseline. All other files (other formats, TIFFs with each
    channel on its own page) are read into memory as a whole.

    Args:
        path: Image file of a kind that :func:`mmcell.images.pixels.read_image` reads, or slide.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent: each channel is stretched so that these percentiles of the whole image
            become 0 and 255. TIFFs that are read in parts must be uint8 or uint16, and are read once more for it. None:
            no stretch.

    Yields:
        The image.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file cannot be read. Raised also by ``read``, if the damage shows only in a rectangle.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    path = Path(path)
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}')
    if not path.exists():
        raise FileNotFoundError(f'no image file {path}')
    if not is_tiff(path):
        yield ArrayRegions(read_image(path, channel_order, percentiles))
        return
    with _as_image_read_error(path):
        tiff = tifffile.TiffFile(path)
    with tiff:
        with _as_image_read_error(path):
            page = _find_full_resolution_page(tiff, path)
        if page is None:
            yield ArrayRegions(read_image(path, channel_order, percentiles))
        else:
            # Not around the yield: errors of the caller's block are not about this file.
            with _as_image_read_error(path):
                regions = TiffRegions(page, path, channel_order, percentiles)
            yield regions


class ArrayRegions:
    """Rectangles of an image in memory; has the methods of :class:`Regions`.

    Args:
        image: (H, W, 3) uint8, RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.height, self.width = image.shape[:2]

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as :meth:`Regions.read` does."""
        return self.image[y0:y1, x0:x1]


class TiffRegions:
    """Rectangles of one page of an open TIFF; has the methods of :class:`Regions`.

    Args:
        page: The page with the image at full resolution.
        path: The file, for error messages.
        channel_order: As in :func:`open_regions`.
        percentiles: As in :func:`open_regions`.

    Raises:
        ImageReadError: ``percentiles`` are given, and the pixels are neither uint8 nor uint16.
        ValueError: The page can only be decoded in pieces that are too large.
    """
    def __init__(self, page: tifffile.TiffPage, path: Path, channel_order: str,
                 percentiles: tuple[float, float] | None) -> None:
        self.path = path
        self.is_bgr = channel_order == 'bgr'
        self.reader = PageReader(page)
        self.height, self.width = self.reader.height, self.reader.width
        self.contrast = None if percentiles is None else self._find_percentiles(percentiles)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads a rectangle as :meth:`Regions.read` does.

        Raises:
            ImageReadError: The file is damaged.
        """
        with _as_image_read_error(self.path):
            colors = self._read_colors(x0, y0, x1, y1)
        image = to_uint8(colors, self.path) if self.contrast is None else stretch_between(
            colors.astype(np.float32), *self.contrast)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return np.ascontiguousarray(image[:, :, ::-1] if self.is_bgr else image)

    def _read_colors(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return interpret_tiff(self.reader.read(x0, y0, x1, y1), self.reader.page, self.path)

    def _find_percentiles(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Computes two percentiles of each channel, (2, C) float32, from a histogram of all pixels.

        The values equal numpy.percentile's. Example with one channel and the four pixels 3, 0, 5, 5: ``counts`` is
        [1, 0, 0, 1, 0, 2], and ``n_up_to`` is [1, 1, 1, 2, 2, 4]. The 40th percentile has the rank (4 - 1) * .4 = 1.2
        among the sorted pixels 0, 3, 5, 5, and so lies between the pixels of rank 1 and 2. The pixel of rank 1 is the
        first value with ``n_up_to`` above 1, which is 3; the pixel of rank 2 is 5; the result is 3 + .2 * (5 - 3).
        """
        dtype = self._read_colors(0, 0, 1, 1).dtype
        if dtype.kind not in 'ub' or dtype.itemsize > 2:
            raise ImageReadError(f'{self.path}: has pixels of type {dtype}; percentiles of an image that is read in '
                                 'parts can only be computed for uint8 and uint16: convert it')
        counts = 0
        for y0 in range(0, self.height, _ROWS_PER_BAND):
            colors = self._read_colors(0, y0, self.width, min(y0 + _ROWS_PER_BAND, self.height))
            counts = counts + np.stack([np.bincount(channel.ravel(), minlength=1 << 16)
                                        for channel in np.moveaxis(colors, 2, 0)])
        n_up_to = np.cumsum(counts, axis=1)
        ranks = (self.height * self.width - 1) * np.array(percentiles) / 100
        below, above = (np.stack([np.searchsorted(channel, whole_ranks, side='right') for channel in n_up_to], axis=1)
                        for whole_ranks in (np.floor(ranks), np.ceil(ranks)))
        return (below + (above - below) * (ranks % 1)[:, None]).astype(np.float32)


def _find_full_resolution_page(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPage | None:
    """Finds the page that holds the whole image at full resolution; None if the image is spread over several pages."""
    series = [images for images in tiff.series if images.name == 'Baseline'] or tiff.series
    if len(series) > 1:
        raise ImageReadError(f'{path}: holds {len(series)} images; exactly one image is expected: save each image in '
                             'its own file')
    level = series[0].levels[0]
    page = level.pages[0]
    is_one_plane = (len(level.pages) == 1 and page is not None and page.keyframe.shaped[1] == 1
                    and level.size == page.keyframe.size)
    return page.aspage() if is_one_plane else None


@contextmanager
def _as_image_read_error(path: Path) -> Iterator[None]:
    """Turns the errors that tifffile and its codecs raise for a damaged file into an ImageReadError."""
    try:
        yield
    except (ImageReadError, MemoryError):
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds of error
        raise ImageReadError(f'{path}: cannot be read as TIFF: {type(error).__name__}: {error}') from error
