"""The image in an open TIFF, which is read tile by tile or strip by strip, and its micrometres per pixel."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import BinaryIO

import numpy as np
import tifffile

from mmcell.errors import in_one_line
from mmcell.images.colors import interpret_tiff, significant_bits
from mmcell.images.leica import read_region
from mmcell.images.limits import ImageReadError
from mmcell.images.scale import is_plausible_mpp
from mmcell.images.tiff_images import find_pages
from mmcell.images.tiff_pages import PageReader
from mmcell.images.tiff_structure import list_images
from mmcell.images.tiff_xml import read_xml

# Pixels count as square if their sides differ by at most this fraction.
_MAX_SIDE_DIFFERENCE = .01
_UM_PER_UNIT = {'nm': 1e-3, 'um': 1., 'µm': 1., 'μm': 1., 'micron': 1., 'microns': 1., 'micrometer': 1., 'mm': 1e3,
                'cm': 1e4, 'inch': 25_400.}


class TiffImage:
    """The image in an open TIFF; an image that :class:`mmcell.images.image_file.ImageFile` reads.

    ``tifffile.TiffFile.series`` is not used: it opens other files that the metadata name.

    Args:
        file: The open file.

    Attributes:
        height, width, n_channels, orientation, reads_parts: As in :class:`mmcell.images.encoded_image.EncodedImage`.
        bits: Bits of a sample. They may be fewer than those of its type.

    Raises:
        ImageReadError: The file cannot be read, holds several images, or exceeds ``LIMITS``.
    """

    reads_parts = True

    def __init__(self, file: BinaryIO) -> None:
        with _as_image_read_error():
            images = list_images(file)
            # tifffile would make up the positions of the pages of a ScanImage file from the first two of them.
            self._tiff = tifffile.TiffFile(file, offset=0, is_scanimage=False)
            pages = find_pages(self._tiff, images)
            # One page with the image, or the pages with its red, green and blue.
            self._readers = [PageReader(page) for page in pages]
            self._page = pages[0]
            self.height, self.width = self._readers[0].height, self._readers[0].width
            self.n_channels = sum(reader.n_samples for reader in self._readers)
            orientation = self._page.tags.valueof(274, 1)
            self.orientation = orientation if orientation in range(1, 9) else 1
            self.bits = significant_bits(self._page, self._page.dtype)

    @property
    def is_lossy(self) -> bool:
        """Whether samples that were read may differ from those that were saved."""
        return any(reader.is_lossy for reader in self._readers)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Reads the stored samples (y1 - y0, x1 - x0, C) of a rectangle.

        Raises:
            ImageReadError: The file is damaged.
        """
        with _as_image_read_error():
            planes = [reader.read(x0, y0, x1, y1) for reader in self._readers]
            return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def expect(self, rects_xyxy: Sequence[tuple[int, int, int, int]]) -> None:
        """Announces the rectangles that will be read, in their order; see :class:`PageReader`."""
        for reader in self._readers:
            reader.expect(rects_xyxy)

    def interpret(self, samples: np.ndarray) -> np.ndarray:
        """Returns stored samples as grey (H, W, 1) or RGB (H, W, 3), in the same dtype.

        Raises:
            ImageReadError: The file is neither grey, palette, RGB nor RGBA.
        """
        with _as_image_read_error():
            return interpret_tiff(samples, self._page)

    @cached_property
    def mpp(self) -> float | None:
        """Micrometres per pixel.

        The first of these places that holds a scale decides: Leica's description of its slides; OME-XML (PhysicalSizeX
        and PhysicalSizeY); Aperio's image description (``MPP = ``); ImageJ's image description (unit, together with the
        resolution tags); the resolution tags in pixels per centimetre or inch.

        It is None if the file states no scale, and if its scale is not plausible: outside 0.01 to 20 um per pixel, or
        with sides that differ by more than 1 %.
        """
        try:
            with _as_image_read_error():
                for read_sides in (_sides_from_leica, _sides_from_ome, _sides_from_aperio, _sides_from_tags):
                    if sides_um := read_sides(self._tiff):
                        x_um, y_um = sides_um
                        is_square = abs(x_um - y_um) <= _MAX_SIDE_DIFFERENCE * x_um
                        return (x_um + y_um) / 2 if is_square and is_plausible_mpp(x_um) else None
        except ImageReadError:  # a damaged header, or text where a number should be
            pass
        return None


@contextmanager
def _as_image_read_error() -> Iterator[None]:
    """Turns the errors that tifffile and its codecs raise for a damaged file into an ImageReadError."""
    try:
        yield
    except ImageReadError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds of error
        way_out = ('. Install all codecs: pip install imagecodecs' if 'imagecodecs' in str(error) else
                   ': it may be damaged, or not yet written completely')
        raise ImageReadError(
            f'cannot be read as TIFF: {type(error).__name__}: {in_one_line(error)}{way_out}') from error


def _sides_from_leica(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    return (read_region(tiff.pages[0].description).mpp,) * 2 if tiff.is_scn else None


def _sides_from_ome(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    if not tiff.is_ome:
        return None
    root = read_xml(tiff.pages[0].description)
    pixels = None if root is None else root.find('.//{*}Pixels')
    if pixels is None or 'PhysicalSizeX' not in pixels.attrib:
        return None
    sides_um = []
    for axis in 'XY':
        size = pixels.get(f'PhysicalSize{axis}', pixels.get('PhysicalSizeX'))
        sides_um.append(float(size) * _UM_PER_UNIT.get(pixels.get(f'PhysicalSize{axis}Unit', 'µm'), 0.))
    return tuple(sides_um)


def _sides_from_aperio(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    match = re.search(r'\bMPP\s*=\s*([\d.]+)', tiff.pages[0].description)
    return (float(match[1]),) * 2 if match else None


def _sides_from_tags(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    page = tiff.pages[0]
    unit = {tifffile.RESUNIT.CENTIMETER: 'cm', tifffile.RESUNIT.INCH: 'inch'}.get(page.resolutionunit)
    if tiff.is_imagej:
        # ImageJ writes the micro sign as the six characters of a Java escape, \u00B5.
        unit = str((tiff.imagej_metadata or {}).get('unit', '')).lower().replace('\\u00b5', 'µ')
    per_unit = page.resolution
    if unit not in _UM_PER_UNIT or min(per_unit) <= 0:
        return None
    return tuple(_UM_PER_UNIT[unit] / pixels for pixels in per_unit)
