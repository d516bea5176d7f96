"""Repairs of polygons in COCO files of other programs, as far as no guess is needed.

Each function takes the polygons of an instance, which may be anything, and returns them unchanged (the same object) if
there is nothing that it can repair.
"""

from itertools import chain

import numpy as np

from mmcell.files.text_files import is_integer
from mmcell.masks.coco_masks import MAX_COORDINATE_PX, to_points

# float64 holds a coordinate of this size to .001 px, so that the polygon can still be cut exactly.
MAX_CUT_PX = 1e12


def flatten(polygons: list) -> list:
    """Returns polygons as flat lists of numbers, from a single one without its list, or from lists of points."""
    if polygons and not any(isinstance(polygon, list) for polygon in polygons):
        return [polygons]
    if len(polygons) >= 3 and all(map(_is_point, polygons)):
        return [[*chain(*polygons)]]
    are_points = [isinstance(polygon, list) and polygon and all(map(_is_point, polygon)) for polygon in polygons]
    if any(are_points):
        return [[*chain(*polygon)] if has_points else polygon
                for polygon, has_points in zip(polygons, are_points, strict=True)]
    return polygons


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(part, list) for part in value)


def to_numbers(polygons: list) -> list:
    """Returns polygons whose coordinates are numbers, where they were texts such as '12.5'."""
    if not any(isinstance(value, str) for polygon in polygons if isinstance(polygon, list) for value in polygon):
        return polygons
    try:
        return [[float(value) if isinstance(value, str) else value for value in polygon] for polygon in polygons]
    except (ValueError, TypeError):
        return polygons


def drop_small(polygons: list) -> list:
    """Returns polygons without those of fewer than three points, which have no area, if others are left."""
    large = [polygon for polygon in polygons if (points := to_points(polygon)) is None or len(points) >= 3]
    return large if 0 < len(large) < len(polygons) else polygons


def cut_polygons(polygons: list, image: dict) -> list:
    """Returns polygons cut at the borders of their image if they reach too far to be rasterised, else unchanged."""
    all_points = [to_points(polygon) for polygon in polygons]
    size = image.get('height'), image.get('width')
    if not all(map(is_integer, size)) or any(points is None for points in all_points):
        return polygons
    # A comparison with NaN is False.
    reach_px = max((np.abs(points).max(initial=0) for points in all_points), default=0)
    if not MAX_COORDINATE_PX < reach_px <= MAX_CUT_PX:
        return polygons
    pieces = [cut_polygon(points, *size).ravel().tolist() for points in all_points]
    return [piece for piece in pieces if len(piece) >= 6]


def cut_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the part of a polygon that lies in an image, as points (M, 2).

    The method is that of Sutherland and Hodgman (1974): the polygon is cut at one border after the other. ``points``
    are x and y (N, 2) in px, as are the height and width of the image.
    """
    for axis, border, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        kept = []
        for start, end in zip(np.roll(points, 1, axis=0), points, strict=True):
            # How far each end lies inside of the border.
            depth_start, depth_end = sign * (start[axis] - border), sign * (end[axis] - border)
            if (depth_start < 0) != (depth_end < 0):
                kept.append(start + (end - start) * (depth_start / (depth_start - depth_end)))
            if depth_end >= 0:
                kept.append(end)
        points = np.array(kept).reshape(-1, 2)
    return points
