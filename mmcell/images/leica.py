"""What the description of a Leica slide (SCN) says: which of its images are scanned regions, and their scale.

An SCN file holds an overview of the whole glass (the macro image) and one image, with smaller copies, per region that
was scanned. All positions and sides in the description are in nanometres.
"""

from typing import NamedTuple

from mmcell.images.limits import ImageReadError
from mmcell.images.tiff_xml import read_xml

_DAMAGED = "has a damaged description of Leica's slides"


class LeicaRegion(NamedTuple):
    """A scanned region of a Leica slide.

    Attributes:
        width_px: Width of its full resolution.
        height_px: Height of its full resolution.
        mpp: Micrometres per pixel.
    """

    width_px: int
    height_px: int
    mpp: float


def read_region(description: str) -> LeicaRegion:
    """Returns the scanned region of a slide.

    Args:
        description: The text of the tag ImageDescription of the first page, XML.

    Raises:
        ImageReadError: The description is damaged, or the slide has no scanned region or several.
    """
    root = read_xml(description)
    collection = None if root is None else root.find('{*}collection')
    if collection is None:
        raise ImageReadError(_DAMAGED)
    try:
        glass = [int(collection.get(f'size{axis}', '')) for axis in 'XY']
        views = [(image.find('{*}view'), image.find('{*}pixels')) for image in collection.findall('{*}image')]
        regions = [LeicaRegion(int(pixels.get('sizeX', '')), int(pixels.get('sizeY', '')),
                               int(view.get('sizeX', '')) / int(pixels.get('sizeX', '')) / 1000)
                   for view, pixels in views if [int(view.get(f'size{axis}', '')) for axis in 'XY'] != glass]
    except (ValueError, AttributeError, ZeroDivisionError) as error:
        raise ImageReadError(_DAMAGED) from error
    if len(regions) != 1:
        raise ImageReadError(f'holds {len(regions)} scanned regions; exactly one is expected: save each region '
                             'in its own file, for example with Fiji (Bio-Formats)')
    return regions[0]
