"""One image file: opened once, checked once, and read as a whole or in parts as RGB uint8, by one set of rules."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmcell.images.pixels import read_label_map
from mmcell.images.regions import ImageRegions, open_regions
from mmcell.images.resolution import read_mpp
from mmcell.images.stored import TiffImage


class ImageFile:
    """An open image file, as :func:`open_image` yields it.

    Rows and columns are those of the upright image, as the tag Orientation wants it. Of a pyramid or slide, they are
    those of the full resolution.

    Attributes:
        path: The file.
        height: Height in px.
        width: Width in px.
        orientation: Value of the tag Orientation of TIFF or EXIF: 1 (stored upright) to 8.
        reads_parts: Whether a part of the image can be read without the rest. It is true of TIFF; files of other
            formats are decoded as a whole when their first pixels are read.
        mpp: Micrometres per pixel; None if the file does not state them, or states a scale that no microscope has.
        fingerprint: Shows whether the file was replaced or changed; see :func:`file_fingerprint`.
    """

    def __init__(self, regions: ImageRegions) -> None:
        self._regions = regions
        self.path, self.height, self.width = regions.stored.path, regions.height, regions.width
        self.orientation = regions.stored.orientation
        self.reads_parts = isinstance(regions.stored, TiffImage)
        self.fingerprint = file_fingerprint(self.path, self.path.stat())

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel."""
        return read_mpp(self.path)

    def read(self, x0: int = 0, y0: int = 0, x1: int | None = None, y1: int | None = None) -> np.ndarray:
        """Reads the whole image, or columns x0 to x1 - 1 of rows y0 to y1 - 1, as (y1 - y0, x1 - x0, 3) uint8, RGB.

        Args:
            x0: First column, in px.
            y0: First row, in px.
            x1: Column after the last, in px; None for the width of the image.
            y1: Row after the last, in px; None for the height of the image.

        Raises:
            ImageReadError: The file is damaged, has pixels that the rules of :func:`open_image` refuse, or is too large
                to be read as a whole.
        """
        if x1 is None and y1 is None:
            self._regions.stored.check_size()
        return self._regions.read(x0, y0, self.width if x1 is None else x1, self.height if y1 is None else y1)

    def read_label_map(self) -> np.ndarray:
        """Reads the file as an instance-id map, (H, W) int32, with 0 for background.

        Raises:
            ImageReadError: The file is damaged, too large, or not an instance-id map; see :func:`read_label_map`.
        """
        return read_label_map(self.path)

    def check_pixels(self) -> None:
        """Decodes the whole image, part after part, so that damage in it is noticed.

        Raises:
            ImageReadError: The file is damaged, or is neither grey, palette, RGB nor RGBA.
        """
        for _ in self._regions.stored.read_bands():
            pass


@contextmanager
def open_image(path: str | Path, channel_order: str = 'rgb',
               percentiles: tuple[float, float] | None = None) -> Iterator[ImageFile]:
    """Opens an image file, and checks its header; the file is open until the block ends.

    Args:
        path: File of one of the formats and codecs that docs/reference/file_formats.md lists, with any name.
        channel_order: 'rgb', or 'bgr' for files that are tagged RGB but hold blue first.
        percentiles: (low, high) in percent, for example (1, 99.8): each channel is stretched so that these
            percentiles of the whole image become 0 and 255, also when only a part is read. None: no stretch.

    Yields:
        The image.

    Raises:
        FileNotFoundError: There is no file ``path``.
        ImageReadError: The file is not an image, is damaged, holds several images, or exceeds
            :class:`mmcell.images.limits.Limits`. Raised also by the methods of the image, if damage shows only there.
        ValueError: ``channel_order`` is neither 'rgb' nor 'bgr'.
    """
    with open_regions(path, channel_order, percentiles) as regions:
        yield ImageFile(regions)


def file_fingerprint(path: Path, status: os.stat_result) -> dict:
    """Returns what shows whether an image file was replaced or changed, in JSON's types.

    Args:
        path: The file.
        status: Its status, as ``os.stat`` returns it.

    Returns:
        ``image``: the absolute path, without links; ``n_bytes``: the size in bytes; ``mtime_ns``: the time of the last
        change in nanoseconds.
    """
    return {'image': str(path.resolve()), 'n_bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}
