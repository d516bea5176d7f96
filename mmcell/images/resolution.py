"""Micrometres a pixel, from what an image file says."""

import re
from pathlib import Path
from xml.etree import ElementTree

import tifffile

# Beyond these a value is no microscope's: 72, 96 and 300 pixels an inch, which editors write, are 85 to 353 um.
MIN_MPP, MAX_MPP = .01, 20.
# Pixels count as square up to this difference of the sides.
_SQUARE = .01
_UM_PER_UNIT = {'nm': 1e-3, 'um': 1., 'µm': 1., 'μm': 1., 'micron': 1., 'microns': 1., 'micrometer': 1., 'mm': 1e3,
                'cm': 1e4, 'inch': 25_400.}


def read_mpp(path: str | Path) -> float | None:
    """The micrometres a pixel that a TIFF file gives; None where it gives none that can be believed.

    Asked in this order: OME-XML (PhysicalSizeX and PhysicalSizeY), Aperio's description (``MPP = ``), ImageJ's
    description (unit, with the resolution tags), the resolution tags in pixels a centimetre or an inch. Values
    outside 0.01 to 20 um and pixels that are not square count as nothing.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            for find in (_from_ome, _from_aperio, _from_tags):
                sides_um = find(tiff)
                if sides_um is not None:
                    return _believable(*sides_um)
    except (tifffile.TiffFileError, ElementTree.ParseError, ValueError):  # no TIFF, or numbers that are none
        return None
    return None


def _believable(x_um: float, y_um: float) -> float | None:
    is_square = abs(x_um - y_um) <= _SQUARE * x_um
    return (x_um + y_um) / 2 if is_square and MIN_MPP <= x_um <= MAX_MPP else None


def _from_ome(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    if not tiff.is_ome:
        return None
    pixels = ElementTree.fromstring(tiff.ome_metadata).find('.//{*}Pixels')
    if pixels is None or 'PhysicalSizeX' not in pixels.attrib:
        return None
    sides_um = []
    for axis in 'XY':
        size = pixels.get(f'PhysicalSize{axis}', pixels.get('PhysicalSizeX'))
        sides_um.append(float(size) * _UM_PER_UNIT.get(pixels.get(f'PhysicalSize{axis}Unit', 'µm'), 0.))
    return tuple(sides_um)


def _from_aperio(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    found = re.search(r'\bMPP\s*=\s*([\d.]+)', tiff.pages[0].description)
    return (float(found[1]),) * 2 if found else None


def _from_tags(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    page = tiff.pages[0]
    unit = {tifffile.RESUNIT.CENTIMETER: 'cm', tifffile.RESUNIT.INCH: 'inch'}.get(page.resolutionunit)
    if tiff.is_imagej:
        # ImageJ spells the micro sign as a Java escape.
        unit = str((tiff.imagej_metadata or {}).get('unit', '')).lower().replace('\\u00b5', 'µ')
    per_unit = page.resolution
    if unit not in _UM_PER_UNIT or min(per_unit) <= 0:
        return None
    return tuple(_UM_PER_UNIT[unit] / pixels for pixels in per_unit)
