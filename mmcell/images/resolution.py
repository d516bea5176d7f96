"""Micrometres per pixel, as an image file states them."""

import re
from pathlib import Path

import tifffile

from mmcell.images.limits import ImageReadError
from mmcell.images.stored import is_tiff
from mmcell.images.tiff_images import as_image_read_error, open_tiff, read_ome

# Values outside this range do not come from a microscope: the 72, 96 or 300 pixels per inch that image editors write
# are 353 to 85 um per pixel.
MIN_MPP, MAX_MPP = .01, 20.
# Pixels count as square if their sides differ by at most this fraction.
_MAX_SIDE_DIFFERENCE = .01
_UM_PER_UNIT = {'nm': 1e-3, 'um': 1., 'µm': 1., 'μm': 1., 'micron': 1., 'microns': 1., 'micrometer': 1., 'mm': 1e3,
                'cm': 1e4, 'inch': 25_400.}


def read_mpp(path: str | Path) -> float | None:
    """Reads the micrometres per pixel from a TIFF file.

    The first of these places that holds a scale decides: OME-XML (PhysicalSizeX and PhysicalSizeY); Aperio's image
    description (``MPP = ``); ImageJ's image description (unit, together with the resolution tags); the resolution tags
    in pixels per centimetre or inch.

    Returns:
        The micrometres per pixel. None if the file is not a TIFF or states no scale, and if its scale is not plausible:
        outside 0.01 to 20 um per pixel, or with sides that differ by more than 1 %.
    """
    path = Path(path)
    try:
        if not is_tiff(path):
            return None
        with open_tiff(path) as (tiff, _), as_image_read_error(path):
            for read_sides in (_from_ome, _from_aperio, _from_tags):
                sides_um = read_sides(tiff)
                if sides_um is not None:
                    return _plausible_mpp(*sides_um)
    except ImageReadError:  # a damaged header, or text where a number should be
        return None
    return None


def _plausible_mpp(x_um: float, y_um: float) -> float | None:
    """Returns the mean side of a pixel, or None if no microscope makes such pixels."""
    is_square = abs(x_um - y_um) <= _MAX_SIDE_DIFFERENCE * x_um
    return (x_um + y_um) / 2 if is_square and MIN_MPP <= x_um <= MAX_MPP else None


def _from_ome(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    if not tiff.is_ome:
        return None
    root = read_ome(tiff.pages[0].description)
    pixels = None if root is None else root.find('.//{*}Pixels')
    if pixels is None or 'PhysicalSizeX' not in pixels.attrib:
        return None
    sides_um = []
    for axis in 'XY':
        size = pixels.get(f'PhysicalSize{axis}', pixels.get('PhysicalSizeX'))
        sides_um.append(float(size) * _UM_PER_UNIT.get(pixels.get(f'PhysicalSize{axis}Unit', 'µm'), 0.))
    return tuple(sides_um)


def _from_aperio(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    match = re.search(r'\bMPP\s*=\s*([\d.]+)', tiff.pages[0].description)
    return (float(match[1]),) * 2 if match else None


def _from_tags(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    page = tiff.pages[0]
    unit = {tifffile.RESUNIT.CENTIMETER: 'cm', tifffile.RESUNIT.INCH: 'inch'}.get(page.resolutionunit)
    if tiff.is_imagej:
        # ImageJ writes the micro sign as the six characters of a Java escape, \u00B5.
        unit = str((tiff.imagej_metadata or {}).get('unit', '')).lower().replace('\\u00b5', 'µ')
    per_unit = page.resolution
    if unit not in _UM_PER_UNIT or min(per_unit) <= 0:
        return None
    return tuple(_UM_PER_UNIT[unit] / pixels for pixels in per_unit)
