"""Checks masks in each form that COCO files may contain, and converts them to compressed RLEs."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask

from mmcell.masks.rle import compress_counts, parse_rle, parse_rles
from mmcell.predictions.checks import is_finite_number

# The memory that pycocotools needs for a polygon grows with the length of its edges.
MAX_COORDINATE_PX = 1e5


def to_compressed_rles(masks: Sequence[object], sizes: Sequence[tuple[int, int]]) -> tuple[list[dict], dict[int, str]]:
    """Converts COCO masks to compressed RLEs and checks that each of them can be decoded.

    Nothing is raised for a bad mask, so that the caller can report all bad masks at once.

    Args:
        masks: N masks, each a compressed RLE, an RLE with listed run lengths, or a list of polygons
            [x1, y1, x2, y2, …] in px. All polygons of a list belong to one instance.
        sizes: The (height, width) in px of the image of each mask.

    Returns:
        RLEs with counts as str, and a dict from the index of each bad mask to its problem. Only if this dict is empty
        are there N RLEs, which may be used.
    """
    rles, problems = [], {}
    for index, (mask, size) in enumerate(zip(masks, sizes, strict=True)):
        try:
            rles.append(_to_compressed_rle(mask, size))
        except ValueError as error:
            problems[index] = str(error)
    if not problems:
        try:
            # Checking all masks at once is many times faster. Only if it fails, each is checked to name the bad ones.
            parse_rles(rles)
        except ValueError:
            problems = {index: problem for index, rle in enumerate(rles) if (problem := _problem_of(rle)) is not None}
    return rles, problems


def _problem_of(rle: dict) -> str | None:
    """Returns why an RLE cannot be decoded, or None if it can be decoded."""
    try:
        parse_rle(rle)
    except ValueError as error:
        return str(error)
    return None


def _to_compressed_rle(mask: object, size: tuple[int, int]) -> dict:
    """Converts one mask of an image of this (height, width).

    A compressed RLE is not decoded here; its run lengths may still be wrong.

    Raises:
        ValueError: The mask has no known form, another size than its image, or wrong run lengths or polygons.
    """
    if isinstance(mask, list):
        mask = _from_polygons(mask, size)
    if not isinstance(mask, dict) or not {'size', 'counts'} <= mask.keys():
        raise ValueError(f"segmentation is neither an RLE with 'size' and 'counts' nor polygons: {str(mask)[:60]}")
    if not isinstance(mask['size'], list | tuple) or list(mask['size']) != list(size):
        raise ValueError(f"mask size {mask['size']} is not the size of the image, {list(size)} (height, width)")
    counts = mask['counts']
    if isinstance(counts, bytes):
        counts = counts.decode('ascii', errors='replace')
    elif not isinstance(counts, str):
        runs = parse_rle(mask)
        counts, = compress_counts(runs, np.array([len(runs)]))
    return {'size': list(size), 'counts': counts}


def _from_polygons(polygons: list, size: tuple[int, int]) -> dict:
    """Returns the RLE of the union of some polygons in an image of this (height, width).

    Raises:
        ValueError: There are no polygons, or one of them is not a list of three or more points.
    """
    for polygon in polygons or [None]:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(
                is_finite_number(value) and abs(value) <= MAX_COORDINATE_PX for value in polygon):
            raise ValueError('polygons must be lists of three or more x, y in px, numbers from '
                             f'-{MAX_COORDINATE_PX:.0f} to {MAX_COORDINATE_PX:.0f}, got {str(polygons)[:60]}')
    return pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, *size))
