"""The smaller copies of an image that slides and other pyramids hold, read through tiffslide or OpenSlide.

The full resolution is read by :mod:`mmcell.images.tiff_file`, which needs neither of them.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.errors import in_one_line
from mmcell.images.limits import ImageReadError


class Pyramid:
    """The levels of an open slide.

    Args:
        slide: A ``tiffslide.TiffSlide``, or an ``openslide.OpenSlide``, which has the same methods.
        size: Height and width in px of the image, as it is read without this module.

    Attributes:
        sizes: (height, width) in px of each level; level 0 is the full resolution. There is none if the slide is not
            this image.
    """

    def __init__(self, slide: Any, size: tuple[int, int]) -> None:
        self._slide, self._corner = slide, (0, 0)
        self.sizes = [(height, width) for width, height in slide.level_dimensions]
        self._factors = list(slide.level_downsamples)
        if self.sizes[0] != size:
            self._corner, bounds = _bounds_of(slide)
            self.sizes = [(round(size[0] / factor), round(size[1] / factor)) for factor in self._factors
                          if bounds == size]

    def close(self) -> None:
        """Closes the slide."""
        self._slide.close()

    def coarsest(self, factor: float) -> int:
        """Returns the smallest level that is at most by a factor smaller than the full resolution, along both axes."""
        height, width = self.sizes[0]
        # Sides of levels are rounded, so that a level of half the size may be a little smaller than half.
        fits = [level for level, (rows, columns) in enumerate(self.sizes)
                if height / rows <= factor * 1.01 and width / columns <= factor * 1.01]
        return max(fits, key=lambda level: -self.sizes[level][0], default=0)

    def read(self, level: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads columns x0 to x1 - 1 of rows y0 to y1 - 1 of a level.

        Returns:
            (y1 - y0, x1 - x0, 3) uint8, in the order of the colours in the file.

        Raises:
            ImageReadError: The level is damaged, or has other than 8-bit colours.
        """
        # The library wants the corner in px of the full resolution, divides it by its factor and cuts off the rest.
        factor = self._factors[level]
        corner = ceil(x0 * factor) + self._corner[0], ceil(y0 * factor) + self._corner[1]
        try:
            region = np.asarray(self._slide.read_region(corner, level, (x1 - x0, y1 - y0)))
        except Exception as error:  # the library and its codecs raise many kinds of error
            raise ImageReadError(
                f'level {level} cannot be read: {type(error).__name__}: {in_one_line(error)}') from error
        if region.shape[:2] != (y1 - y0, x1 - x0) or region.ndim != 3 or region.dtype != np.uint8:
            raise ImageReadError(f'level {level} cannot be read: it gives {region.dtype} of shape {region.shape}')
        return region[:, :, :3]


@contextmanager
def open_pyramid(path: Path, size: tuple[int, int]) -> Iterator[Pyramid | None]:
    """Opens the levels of an image until the block ends.

    Args:
        path: The image file.
        size: Height and width in px of the image, as it is read without this module.

    Yields:
        The levels; None if neither tiffslide nor OpenSlide is installed, if they do not read the file, or if it has no
        smaller copy of an image of this size.
    """
    pyramid = _open_levels(path, size)
    if pyramid is None:
        yield None
        return
    with closing(pyramid):
        yield pyramid if len(pyramid.sizes) > 1 else None


def _bounds_of(slide: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns corner (x, y) and size (height, width) in px of the region that was scanned, on a slide of Leica.

    The slide of these libraries is the whole glass, whereas the image is the region.
    """
    def read(key: str) -> int:
        named = (slide.properties.get(f'{library}.bounds-{key}') for library in ('tiffslide', 'openslide'))
        return int(next(filter(None, named), 0))

    return (read('x'), read('y')), (read('height'), read('width'))


def _open_levels(path: Path, size: tuple[int, int]) -> Pyramid | None:
    for module, name in (('tiffslide', 'TiffSlide'), ('openslide', 'OpenSlide')):
        slide = None
        try:
            # tifffile would open other files that the metadata of an OME-TIFF names.
            options = dict(tifffile_options={'_multifile': False}) if module == 'tiffslide' else {}
            slide = getattr(__import__(module), name)(str(path), **options)
            # tiffslide opens files whose levels it cannot describe, for example of images that are stored in planes.
            return Pyramid(slide, size)
        # The package or its library is not installed (ImportError, OSError), or does not read the file.
        except Exception:
            if slide is not None:
                slide.close()
    return None
