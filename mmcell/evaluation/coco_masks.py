"""Masks in any form that COCO files have, checked and made compressed RLEs."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask

from mmcell.masks.rle import compress_counts, parse_rle, parse_rles
from mmcell.predictions.checks import is_finite_number

# pycocotools takes memory by the length of an edge.
MAX_COORDINATE_PX = 1e5


def to_compressed_rles(masks: Sequence[object], sizes: Sequence[tuple[int, int]]) -> tuple[list[dict], dict[int, str]]:
    """COCO masks as compressed RLEs, each of which decodes.

    Args:
        masks: N compressed RLEs, RLEs with listed run lengths, or lists of polygons [x1, y1, x2, y2, …] in px; the
            polygons of a list are one instance.
        sizes: (height, width) of the image of each mask.

    Returns:
        N RLEs with counts as str, and the problem of each mask that is bad, by its index. The RLEs are to be used
        where there is no problem.
    """
    rles, problems = [], {}
    for index, (mask, size) in enumerate(zip(masks, sizes, strict=True)):
        try:
            rles.append(_to_compressed_rle(mask, size))
        except ValueError as error:
            problems[index] = str(error)
    if not problems:
        try:
            # All at once is many times faster; one by one tells which.
            parse_rles(rles)
        except ValueError:
            problems = {index: problem for index, rle in enumerate(rles) if (problem := _problem_of(rle)) is not None}
    return rles, problems


def _problem_of(rle: dict) -> str | None:
    try:
        parse_rle(rle)
    except ValueError as error:
        return str(error)
    return None


def _to_compressed_rle(mask: object, size: tuple[int, int]) -> dict:
    if isinstance(mask, list):
        mask = _from_polygons(mask, size)
    if not isinstance(mask, dict) or not {'size', 'counts'} <= mask.keys():
        raise ValueError(f"segmentation is neither an RLE with 'size' and 'counts' nor polygons: {str(mask)[:60]}")
    if not isinstance(mask['size'], list | tuple) or list(mask['size']) != list(size):
        raise ValueError(f"mask size {mask['size']} is not that of the image, {list(size)} (height, width)")
    counts = mask['counts']
    if isinstance(counts, bytes):
        counts = counts.decode('ascii', errors='replace')
    elif not isinstance(counts, str):
        runs = parse_rle(mask)
        counts, = compress_counts(runs, np.array([len(runs)]))
    return {'size': list(size), 'counts': counts}


def _from_polygons(polygons: list, size: tuple[int, int]) -> dict:
    for polygon in polygons or [None]:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(
                is_finite_number(value) and abs(value) <= MAX_COORDINATE_PX for value in polygon):
            raise ValueError(f'polygons must be lists of three or more x, y in px: {str(polygons)[:60]}')
    return pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, *size))
