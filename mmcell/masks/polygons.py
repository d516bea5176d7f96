"""Turns outlines into pixels by one rule, which loses no cell and shares no pixel between neighbours.

**A pixel belongs to a polygon if its centre lies inside.** Coordinates are in px from the outer corner of the first
pixel, so that pixel (y, x) has its centre at (x + .5, y + .5). A centre exactly on an outline belongs to the polygon
at its right, or below it: polygons that share an edge share no pixel and leave none out. Inside is what the rings of a
polygon enclose an odd number of times (the even-odd rule), so that inner rings are holes, as in ImageJ. An instance of
several polygons has the pixels of all of them.

An instance that contains no centre but lies in the image gets the one pixel that contains a point inside of it. What
lies beyond the borders of the image is cut off. Outlines along the edges of pixels, such as those of
:func:`mmcell.cells.outlines.outline_masks`, give exactly the pixels that they enclose.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from mmcell.masks.rle import encode_runs
from mmcell.ragged import begins_of_runs, groups_of, index_in_group, offsets_of

# float64 holds coordinates of this size to .001 px.
MAX_COORDINATE_PX = 1e12
# Outlines are gone through in parts that cross this many columns together, so that memory does not grow with them.
_CROSSINGS_PER_PART = 4_000_000
# An outline that crosses more columns is not that of a cell, and would take gigabytes.
_MAX_CROSSINGS = 20_000_000


@dataclass(frozen=True)
class RasterizedInstances:
    """N instances as pixels.

    Attributes:
        rles: N compressed COCO RLEs; None for an instance that has no pixel in the image, or whose outline is not
            finite, reaches beyond ``MAX_COORDINATE_PX``, has fewer than three points, or goes to and fro so often that
            it crosses more than 20 million columns.
        is_below_pixel: (N,) bool, whether the instance contains no centre of a pixel, and got one pixel.
    """

    rles: list[dict | None]
    is_below_pixel: np.ndarray


@dataclass(frozen=True)
class _Outlines:
    """The rings of N instances.

    Attributes:
        points: (P, 2) float64, x and y in px, ring after ring, without the repetition of the first point.
        n_points: (R,) int64, the number of points of each ring.
        polygon: (R,) int64, ascending, the polygon of each ring.
        instance: (R,) int64, ascending, the instance of each ring.
        n_instances: N.
    """

    points: np.ndarray
    n_points: np.ndarray
    polygon: np.ndarray
    instance: np.ndarray
    n_instances: int


def rasterize_geometries(geometries: Sequence[shapely.Geometry], height: int, width: int) -> RasterizedInstances:
    """Turns N geometries into pixels.

    Args:
        geometries: Polygons and MultiPolygons in px. Other geometries, and parts of collections, have no pixel.
        height: Height of the image in px.
        width: Width of the image in px.
    """
    polygons, instance = shapely.get_parts(np.asarray(geometries, object).reshape(-1), return_index=True)
    is_polygon = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
    polygons, instance = polygons[is_polygon], instance[is_polygon]
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    # Rings of shapely end with their first point.
    is_last = np.append(ring[1:] != ring[:-1], True)[:len(ring)]
    n_points = np.bincount(ring[~is_last], minlength=len(rings))
    return _rasterize(_Outlines(points[~is_last], n_points, polygon, instance[polygon], len(geometries)), height, width)


def rasterize_rings(instances: Sequence[Sequence[Sequence[np.ndarray]]], height: int,
                    width: int) -> RasterizedInstances:
    """Turns N instances into pixels.

    Args:
        instances: For each instance its polygons, and for each polygon its rings, (P, 2) x and y in px.
        height: Height of the image in px.
        width: Width of the image in px.
    """
    polygons = [polygon for instance in instances for polygon in instance]
    rings = [np.asarray(ring, np.float64).reshape(-1, 2) for polygon in polygons for ring in polygon]
    polygon = groups_of(np.array([len(polygon) for polygon in polygons], np.int64))
    instance = groups_of(np.array([len(instance) for instance in instances], np.int64))[polygon]
    return _rasterize(_Outlines(np.concatenate([np.zeros((0, 2)), *rings]), np.array(list(map(len, rings)), np.int64),
                                polygon, instance, len(instances)), height, width)


def rasterize_flat_polygons(instances: Sequence[Sequence[Sequence[float]]], height: int,
                            width: int) -> RasterizedInstances:
    """Turns N instances of COCO, each a list of polygons [x1, y1, x2, y2, …] in px, into pixels."""
    return rasterize_rings([[[np.asarray(polygon, np.float64).reshape(-1, 2)] for polygon in instance]
                            for instance in instances], height, width)


def _rasterize(outlines: _Outlines, height: int, width: int) -> RasterizedInstances:
    outlines = _drop_unusable(outlines, width)
    starts, ends, n_runs = _find_runs(outlines, height, width)
    rles = encode_runs(starts, ends, n_runs, height, width)
    is_below_pixel = np.zeros(outlines.n_instances, bool)
    for place in np.flatnonzero(n_runs == 0):
        pixel = _find_pixel(outlines, place, height, width)
        rles[place] = None
        if pixel is not None:
            is_below_pixel[place] = True
            rles[place], = encode_runs(np.array([pixel]), np.array([pixel + 1]), np.array([1]), height, width)
    return RasterizedInstances(rles, is_below_pixel)


def _drop_unusable(outlines: _Outlines, width: int) -> _Outlines:
    """Returns the outlines without rings of fewer than three points, and without all rings of unusable instances."""
    ring_of_point = groups_of(outlines.n_points)
    # A comparison with NaN is False.
    is_bad = ~(np.abs(outlines.points) <= MAX_COORDINATE_PX).all(axis=1)
    is_usable = np.ones(outlines.n_instances, bool)
    is_usable[outlines.instance[ring_of_point[is_bad]]] = False
    x = np.where(is_bad, 0, outlines.points[:, 0]).clip(0, width)
    n_crossed = np.bincount(outlines.instance[ring_of_point][1:], np.abs(np.diff(x)), outlines.n_instances)
    is_usable[n_crossed > _MAX_CROSSINGS] = False
    keep = is_usable[outlines.instance] & (outlines.n_points >= 3)
    return _Outlines(outlines.points[keep[ring_of_point]], outlines.n_points[keep], outlines.polygon[keep],
                     outlines.instance[keep], outlines.n_instances)


def _find_runs(outlines: _Outlines, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the runs of N instances as :func:`mmcell.masks.rle.encode_runs` takes them."""
    ring = groups_of(outlines.n_points)
    next_point = np.arange(len(ring)) + 1
    last = offsets_of(outlines.n_points)[1:] - 1
    next_point[last] -= outlines.n_points
    edges = np.hstack([outlines.points, outlines.points[next_point]])
    # Both polygons beside an edge must compute the same numbers, whatever direction they go along it.
    edges = np.where((edges[:, 0] > edges[:, 2])[:, None], edges[:, [2, 3, 0, 1]], edges)
    # An edge crosses the centres of the columns from the first at or right of its left end to the last left of its
    # right end: an edge from x = 1.5 to x = 4 crosses those of the columns 1, 2 and 3, at 1.5, 2.5 and 3.5.
    first = np.ceil(edges[:, 0] - .5).clip(0, width).astype(np.int64)
    n_columns = np.ceil(edges[:, 2] - .5).clip(0, width).astype(np.int64) - first
    parts = [_runs_of_edges(edges[part], first[part], n_columns[part], outlines.polygon[ring[part]],
                            outlines.instance[ring[part]], height)
             for part in _split_edges(n_columns, outlines.instance[ring])]
    starts, ends, instance = (np.concatenate([np.zeros(0, np.int64), *arrays]) for arrays in zip(*parts, strict=True)) \
        if parts else (np.zeros(0, np.int64),) * 3
    return starts, ends, np.bincount(instance, minlength=outlines.n_instances)


def _split_edges(n_columns: np.ndarray, instance: np.ndarray) -> list[slice]:
    """Divides edges into parts of about ``_CROSSINGS_PER_PART`` columns, without dividing an instance."""
    begins = begins_of_runs(instance)
    if not len(begins):
        return []
    part = offsets_of(n_columns)[begins] // _CROSSINGS_PER_PART
    borders = [*begins[begins_of_runs(part)].tolist(), len(instance)]
    return [slice(start, end) for start, end in itertools.pairwise(borders)]


def _runs_of_edges(edges: np.ndarray, first: np.ndarray, n_columns: np.ndarray, polygon: np.ndarray,
                   instance: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns start, end and instance of each run, int64, by instance and then ascending, without overlaps.

    Args:
        edges: (E, 4) x1, y1, x2, y2 in px with x1 <= x2.
        first: (E,) int64, the first column whose centre each edge crosses.
        n_columns: (E,) int64, the number of columns.
        polygon: (E,) int64, ascending.
        instance: (E,) int64, ascending.
        height: Height of the image in px.
    """
    edge = groups_of(n_columns)
    column = first[edge] + index_in_group(n_columns)
    x1, y1, x2, y2 = edges[edge].T
    y = y1 + (column + .5 - x1) * ((y2 - y1) / np.where(x2 > x1, x2 - x1, 1))
    # Between the first and the second crossing of a column lies the polygon, between the third and the fourth, …
    order = np.lexsort((y, column, polygon[edge]))
    rows = np.ceil(y[order] - .5).clip(0, height).astype(np.int64)
    columns, instance = column[order][::2], instance[edge][order][::2]
    starts, ends = columns * height + rows[::2], columns * height + rows[1::2]
    is_kept = ends > starts
    return _join_overlaps(starts[is_kept], ends[is_kept], instance[is_kept])


def _join_overlaps(starts: np.ndarray, ends: np.ndarray,
                   instance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorts runs by instance and start, and joins those that overlap, because polygons of an instance may."""
    order = np.lexsort((starts, instance))
    starts, ends, instance = starts[order], ends[order], instance[order]
    # The furthest end so far within the instance: an offset per instance keeps the instances apart.
    span = int(ends.max(initial=0)) + 1
    reached = np.maximum.accumulate(ends + instance * span) - instance * span
    is_first = np.ones(len(starts), bool)
    is_first[1:] = (instance[1:] != instance[:-1]) | (starts[1:] > reached[:-1])
    is_last = np.append(is_first[1:], True)[:len(starts)]
    return starts[is_first], reached[is_last], instance[is_first]


def _find_pixel(outlines: _Outlines, place: int, height: int, width: int) -> int | None:
    """Returns the position of the pixel that contains a point inside an instance; None if it is not in the image."""
    sizes, offsets = outlines.n_points, offsets_of(outlines.n_points)
    rings = [outlines.points[offsets[ring]:offsets[ring] + sizes[ring]]
             for ring in np.flatnonzero(outlines.instance == place)]
    if not rings:
        return None
    largest = max(rings, key=lambda ring: shapely.area(shapely.polygons(ring)))
    point = shapely.get_coordinates(shapely.point_on_surface(shapely.polygons(largest)))
    x, y = np.floor(point[0] if len(point) else largest.mean(axis=0)).astype(np.int64).tolist()
    return x * height + y if 0 <= x < width and 0 <= y < height else None
