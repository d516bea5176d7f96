"""Which of the images in a TIFF is the image to read: the full resolution, not a level, thumbnail, label or mask."""

import json
import math
import re
from collections.abc import Sequence

import tifffile

from mmcell.images.leica import read_region
from mmcell.images.limits import ONE_IMAGE, ImageReadError
from mmcell.images.tiff_structure import ListedImage
from mmcell.images.tiff_xml import read_xml

_REDUCED, _MASK = 1, 4
# Slides also hold a label, an overview and levels of several ratios, which are all smaller than the slide.
_SLIDE_FLAGS = ('is_svs', 'is_ndpi', 'is_qpi', 'is_bif', 'is_philips', 'is_avs')


def find_pages(tiff: tifffile.TiffFile, images: Sequence[ListedImage]) -> list[tifffile.TiffPage]:
    """Returns the page that holds the image, or three pages that hold its red, green and blue.

    Raises:
        ImageReadError: The file holds several images, several channels that are not red, green and blue, or a stack.
    """
    if tiff.pages[0].is_scn:
        return [_find_leica_region(tiff, images)]
    main = [image for image in images if not image.is_below]
    candidates = [image for image in main if not image.kind & (_REDUCED | _MASK)] or main
    largest = max(candidates, key=lambda image: image.height * image.width)
    first_page = tiff.pages[0]
    is_slide = any(getattr(first_page, flag) for flag in _SLIDE_FLAGS)
    rest = [image for image in candidates if image.index != largest.index]
    equal = [image for image in rest if (image.height, image.width) == (largest.height, largest.width)]
    others = equal if is_slide else _without_levels(largest, rest, first_page.is_shaped)
    larger = [image for image in images if image.is_below and not image.kind & (_REDUCED | _MASK)
              and image.height * image.width >= largest.height * largest.width]
    if not others and not larger:
        page = _page_of(tiff, largest)
        _refuse_hidden_stack(page)
        return [page]
    if not larger and len(candidates) == 3 and len(equal) == 2 and _are_rgb_planes(first_page):
        pages = [_page_of(tiff, image) for image in candidates]
        if len({(page.dtype, page.shaped, page.photometric) for page in pages}) == 1 and pages[0].shaped[-1] == 1:
            return pages
    n_images = 1 + len(others) + len(larger)
    if equal:
        raise ImageReadError(f'holds {n_images} images of {largest.width} x {largest.height} px: a stack, a time '
                             f'series or {n_images} channels; {ONE_IMAGE}, or the three channels of an RGB image in '
                             'one page')
    raise ImageReadError(f'holds {n_images} images; {ONE_IMAGE}')


def _find_leica_region(tiff: tifffile.TiffFile, images: Sequence[ListedImage]) -> tifffile.TiffPage:
    region = read_region(tiff.pages[0].description)
    found = [image for image in images if (image.width, image.height) == (region.width_px, region.height_px)]
    if len(found) != 1:
        raise ImageReadError(f'holds {len(found)} images of {region.width_px} x {region.height_px} px, the size of its '
                             f'scanned region; {ONE_IMAGE}')
    return _page_of(tiff, found[0])


def _without_levels(largest: ListedImage, rest: Sequence[ListedImage], must_be_flagged: bool) -> list[ListedImage]:
    """Returns those images that are not smaller copies of the largest image.

    Some programs write pyramids without flags: each level is 2, 3 or 4 times smaller than the level before. tifffile
    always writes the flag.
    """
    if must_be_flagged:
        return list(rest)
    others, level = [], largest
    for image in rest:
        is_alike = (image.n_samples, image.bits) == (level.n_samples, level.bits) and image.index > largest.index
        if is_alike and any(all(small in (large // factor, -(-large // factor)) for small, large in (
                (image.height, level.height), (image.width, level.width))) for factor in (2, 3, 4)):
            level = image
        else:
            others.append(image)
    return others


def _page_of(tiff: tifffile.TiffFile, image: ListedImage) -> tifffile.TiffPage:
    page = tiff.pages[image.index].aspage()
    if (page.imagelength, page.imagewidth) != (image.height, image.width):
        raise ImageReadError('is damaged: its headers contradict each other')
    if page.shaped[1] != 1:
        raise ImageReadError(f'holds a volume of {page.shaped[1]} slices; {ONE_IMAGE}')
    return page


def _refuse_hidden_stack(page: tifffile.TiffPage) -> None:
    """Raises an ImageReadError if a page stands for a whole stack whose planes lie in the file one after the other."""
    n_planes = 1
    if page.is_stk:
        n_planes = page.tags[33629].count
    elif page.is_imagej:
        n_images, *axes = _imagej_counts(page)
        n_planes = -(-max(n_images, math.prod(axes)) // math.prod(page.shaped[::4]))
    elif page.is_shaped:
        shape = _read_shaped(page)[0]
        n_planes = math.prod(shape) // max(math.prod(page.shaped), 1)
    # A description of a stack is not believed if the file is too small for it: programs copy descriptions.
    file_end = page.parent.filehandle.size
    if n_planes > 1 and page.is_final and page.dataoffsets[0] + n_planes * page.nbytes <= file_end:
        raise ImageReadError(f'holds a stack of {n_planes} planes; {ONE_IMAGE}')


def _are_rgb_planes(page: tifffile.TiffPage) -> bool:
    """Says whether the description of a file calls its three pages channels."""
    if page.is_imagej:
        return _imagej_counts(page)[1:] == [3, 1, 1]
    if page.is_ome:
        return _ome_planes_are_channels(page.description, page.parent.filehandle.name)
    if page.is_shaped:
        shape, axes = _read_shaped(page)
        return [axis for axis, length in zip(axes, shape, strict=False) if length > 1 and axis not in 'YX'] == ['C']
    return False


def _imagej_counts(page: tifffile.TiffPage) -> list[int]:
    """Returns the numbers of images, channels, slices and frames that ImageJ's description states; 1 for the others."""
    stated = dict(re.findall(r'^(images|channels|slices|frames)=(\d{1,9})\s*$', page.description, re.MULTILINE))
    return [int(stated.get(key, 1)) for key in ('images', 'channels', 'slices', 'frames')]


def _read_shaped(page: tifffile.TiffPage) -> tuple[list[int], str]:
    """Returns shape and axes from the description that tifffile writes; an empty shape if it cannot be read."""
    try:
        description = json.loads(page.shaped_description)
        shape, axes = [int(length) for length in description['shape']], description.get('axes', '')
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], ''
    return shape, axes if isinstance(axes, str) else ''


def _ome_planes_are_channels(xml: str, file_name: str) -> bool:
    """Says whether OME-XML describes three channels in the order of the pages, all of them in this file."""
    root = read_xml(xml)
    pixels = [] if root is None else root.findall('.//{*}Pixels')
    if len(pixels) != 1 or [pixels[0].get(f'Size{axis}') for axis in 'CZT'] != ['3', '1', '1']:
        return False
    planes = pixels[0].findall('{*}TiffData')
    names = {uuid.get('FileName', file_name) for plane in planes for uuid in plane.findall('{*}UUID')}
    order = [(plane.get('IFD', '0'), plane.get('FirstC', '0')) for plane in planes]
    return names <= {file_name} and order in ([('0', '0')], [(str(i), str(i)) for i in range(3)])
