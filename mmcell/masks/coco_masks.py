"""Checks masks in each form that COCO files may contain, and converts them to compressed RLEs.

pycocotools checks nothing that it rasterises: a polygon with NaN or 3e9 ends the process with a segmentation fault, and
one with a long outline takes all memory. Everything that comes from a file goes through this module first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask

from mmcell.errors import quote
from mmcell.masks.rle_counts import compress_counts, find_invalid_rles, parse_rles

# pycocotools counts in fifths of a pixel with 32-bit integers, and needs memory for each of them along the outline.
MAX_COORDINATE_PX = 1_000_000
MAX_OUTLINE_PX = 1_000_000
CANNOT_BE_DECODED = 'the RLE cannot be decoded'


class MaskProblem(NamedTuple):
    """Why a mask cannot be used.

    Attributes:
        kind: What is wrong, in words that are the same for all masks with this problem.
        found: What was found in this mask, shortened.
    """

    kind: str
    found: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.found}'


def to_compressed_rles(masks: Sequence[object],
                       sizes: Sequence[tuple[int, int]]) -> tuple[list[dict | None], dict[int, MaskProblem]]:
    """Converts COCO masks to compressed RLEs and checks that each of them can be decoded.

    Nothing is raised for a bad mask, so that the caller can report all bad masks at once.

    Args:
        masks: N masks, each a compressed RLE, an RLE with listed run lengths, or a list of polygons
            [x1, y1, x2, y2, …] in px. All polygons of a list belong to one instance. Those of one or two points cover
            nothing, and are left out if there are others, as MMDetection does.
        sizes: The (height, width) in px of the image of each mask.

    Returns:
        N RLEs with counts as str, with None in place of bad masks; and a dict from the index of each bad mask to its
        problem.
    """
    rles, problems = [], {}
    for index, (mask, size) in enumerate(zip(masks, sizes, strict=True)):
        converted = _to_compressed_rle(mask, size)
        if isinstance(converted, MaskProblem):
            converted, problems[index] = None, converted
        rles.append(converted)
    decodable = [index for index, rle in enumerate(rles) if rle is not None]
    for index, found in find_invalid_rles([rles[index] for index in decodable]).items():
        rles[decodable[index]], problems[decodable[index]] = None, MaskProblem(CANNOT_BE_DECODED, found)
    return rles, problems


def _to_compressed_rle(mask: object, size: tuple[int, int]) -> dict | MaskProblem:
    """Converts one mask, or returns its problem. The run lengths of a compressed RLE are not checked here."""
    if isinstance(mask, list):
        if problem := find_polygon_problem(mask):
            return problem
        polygons = [polygon for polygon in mask if len(polygon) >= 6]
        rle = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, *size))
        return {'size': list(size), 'counts': rle['counts'].decode()}
    if not isinstance(mask, dict) or not {'size', 'counts'} <= mask.keys():
        return MaskProblem("the segmentation is neither an RLE with 'size' and 'counts' nor a list of polygons",
                           quote(mask))
    if not isinstance(mask['size'], list | tuple) or list(mask['size']) != list(size):
        return MaskProblem('the mask size is not the size of the image',
                           f"{quote(mask['size'])} in place of {list(size)} (height, width)")
    counts = mask['counts']
    if isinstance(counts, bytes):
        counts = counts.decode('ascii', errors='replace')
    elif not isinstance(counts, str):
        try:
            # Some programs write 40.0 for 40 in the mask's own size.
            lengths, n_lengths = parse_rles([{'size': list(size), 'counts': counts}])
        except ValueError as error:
            return MaskProblem(CANNOT_BE_DECODED, str(error))
        counts, = compress_counts(lengths, n_lengths)
    return {'size': list(size), 'counts': counts}


def find_polygon_problem(polygons: list) -> MaskProblem | None:
    """Returns why the polygons of an instance cannot be rasterised, or None if they can be."""
    if not polygons:
        return MaskProblem('the segmentation has no polygon', '[]')
    outline_px, has_area = 0., False
    for polygon in polygons:
        points = to_points(polygon)
        if points is None:
            return MaskProblem('a polygon is not a list of numbers x1, y1, x2, y2, … in px', quote(polygon))
        has_area |= len(points) >= 3
        # A comparison with NaN is False.
        if not (np.abs(points) <= MAX_COORDINATE_PX).all():
            return MaskProblem('a polygon has coordinates that no image has '
                               f'(NaN, or beyond {MAX_COORDINATE_PX:,} px)', quote(polygon))
        # As pycocotools does, the longer one of width and height is taken for the length of an edge.
        outline_px += np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum()
    if not has_area:
        return MaskProblem('all polygons have fewer than three points', quote(polygons))
    if outline_px > MAX_OUTLINE_PX:
        return MaskProblem(f'the outline of the polygons is longer than {MAX_OUTLINE_PX:,} px', f'{outline_px:.0f} px')
    return None


def to_points(polygon: object) -> np.ndarray | None:
    """Returns the points (N, 2) float64 of a polygon [x1, y1, x2, y2, …]; None if it is not such a list of numbers."""
    try:
        values = np.asarray(polygon)
    except ValueError:  # lists of different lengths inside of the polygon
        return None
    has_bools = isinstance(polygon, list) and bool in map(type, polygon)
    if values.ndim != 1 or values.dtype.kind not in 'iuf' or len(values) % 2 or has_bools:
        return None
    return values.astype(float).reshape(-1, 2)
