"""Measures the shapes of cells: pieces, hulls, and necks between two lobes."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from mmcell.masks.runs import MaskRuns

# A part of a cell is a lobe if it is at least this deep, relative to the deepest part.
MIN_LOBE = .6


@dataclass(frozen=True)
class CellShapes:
    """The shapes of the M cells of an image, in the order of its annotations.

    Attributes:
        areas_px: (M,) int64.
        touches_border: (M,) bool, whether the border of the image may cut the cell.
        n_pieces: (M,) int64, the number of separate pieces (8-connected).
        second_piece: (M,) float64, the area of the second largest piece as a share of the largest; 0 for one piece.
        gap_px: (M,) float64, the distance of these two pieces, from pixel to pixel; 0 for one piece.
        solidity: (M,) float64, the area as a share of the area of the convex hull.
        elongation: (M,) float64, the ratio of the axes of the ellipse with equal second moments, at least 1.
        neck: (M,) float64, the width of the neck between the two deepest lobes, as a share of the width of the
            smaller lobe: 0 for separate pieces, 1 for a cell with one lobe.
        lobes_yx: (M, 2, 2) float64, the deepest places of the two lobes in px; NaN for a cell with one lobe.
    """

    areas_px: np.ndarray
    touches_border: np.ndarray
    n_pieces: np.ndarray
    second_piece: np.ndarray
    gap_px: np.ndarray
    solidity: np.ndarray
    elongation: np.ndarray
    neck: np.ndarray
    lobes_yx: np.ndarray


def measure_shapes(runs: MaskRuns) -> CellShapes:
    """Measures each mask of an image by itself, so that overlaps do not matter."""
    extents = runs.extents_xyxy
    rows = [_measure_shape(_crop(runs, index, extents[index]), extents[index]) for index in range(len(runs))]
    values = np.array([row[0] for row in rows], float).reshape(-1, 6)
    lobes = np.array([row[1] for row in rows], float).reshape(-1, 2, 2)
    touches = ((extents[:, :2] == 0) | (extents[:, 2:] == [runs.width, runs.height])).any(axis=1)
    return CellShapes(runs.areas_px, touches, values[:, 0].astype(np.int64), *values[:, 1:].T, lobes)


def _crop(runs: MaskRuns, index: int, extent: np.ndarray) -> np.ndarray:
    """Returns one mask in its box with a margin of 1 px, uint8."""
    x, y_start, y_end = runs.part(slice(index, index + 1)).columns
    left, top, right, bottom = extent
    # +1 where a run begins and -1 behind its end add up to the mask.
    steps = np.zeros((bottom - top + 3, right - left + 2), np.int8)
    np.add.at(steps, (y_start - top + 1, x - left + 1), 1)
    np.add.at(steps, (y_end - top + 1, x - left + 1), -1)
    return np.cumsum(steps, axis=0, dtype=np.int8)[:-1].view(np.uint8)


def _measure_shape(mask: np.ndarray, extent: np.ndarray) -> tuple[tuple, np.ndarray]:
    n_pieces, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    second, gap = (0., 0.) if n_pieces == 2 else _second_piece(pieces, areas)
    y, x = np.nonzero(mask)
    # Corners of pixels, so that the hull of one pixel has the area 1.
    corners = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (0, 1) for dy in (0, 1)]).astype(np.int32)
    hull_px = cv2.contourArea(cv2.convexHull(corners))
    neck, lobes = _find_neck(mask)
    lobes += extent[[1, 0]] - 1
    return (n_pieces - 1, second, gap, len(y) / hull_px, _elongation(y, x), neck), lobes


def _second_piece(pieces: np.ndarray, areas: np.ndarray) -> tuple[float, float]:
    first, second = np.argsort(-areas, kind='stable')[:2] + 1
    points = [_outline_of((pieces == piece).astype(np.uint8)) for piece in (first, second)]
    return areas[second - 1] / areas[first - 1], float(cdist(*points).min())


def _outline_of(mask: np.ndarray) -> np.ndarray:
    return np.concatenate(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])[:, 0]


def _elongation(y: np.ndarray, x: np.ndarray) -> float:
    # A pixel has the second moment 1 / 12 in each direction, so that a cell of one pixel is round.
    covariance = np.cov(np.stack([y, x]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(large / small))


def _find_neck(mask: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the relative width of the neck, and the deepest places (2, 2) of the two lobes, NaN for one lobe.

    The depth of a pixel is its distance from the outline. What is deeper than t falls apart where a neck is at most
    2 t wide. The narrowest t at which two parts remain that are at least ``MIN_LOBE`` as deep as the whole is the neck.
    """
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    deepest = depth.max()
    for level in np.arange(0, MIN_LOBE * deepest, .5):
        n_parts, parts = cv2.connectedComponents((depth > level).astype(np.uint8), connectivity=8)
        if n_parts < 3:
            continue
        peaks = np.array([depth[parts == part].max() for part in range(1, n_parts)])
        order = np.argsort(-peaks, kind='stable')[:2]
        if peaks[order[1]] >= max(MIN_LOBE * deepest, level + 1):
            places = [np.unravel_index(np.where(parts == part + 1, depth, 0).argmax(), mask.shape) for part in order]
            return float(level / peaks[order[1]]), np.array(places, float)
    return 1., np.full((2, 2), np.nan)
