"""Finds places without a label that look like the labelled cells of the same image."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

# Colours are compared after smoothing with this sigma, which is the size of the grains in nuclei.
_SIGMA_PX = 1.5
# Pixels up to this distance from a cell are neither cell nor background: outlines are not exact to the pixel.
_MARGIN_PX = 2
# An image with fewer cells says too little about how cells look in it.
MIN_CELLS = 8
_MAX_SAMPLES, MAX_REGIONS = 20_000, 500
# This share of the background is left out as unlike the rest; and colours farther from the mean of the cells than this
# share of the pixels of cells are no cells.
_TRIMMED, _TYPICAL = .1, .995
# At least this depth makes a region solid, whatever the size of the cells.
_MIN_OPENING_PX = 1


@dataclass(frozen=True)
class Regions:
    """R regions, or cells, of an image.

    The likeness of a pixel is 0 for the mean colour of the background, 1 for the mean colour of the cells of this
    image, along the line that separates the two best.

    Attributes:
        yx: (R, 2) float32, the centres in px.
        areas_px: (R,) int64.
        likeness: (R,) float32, the mean likeness.
        contrast: (R,) float32, by how much the mean likeness in a ring of 3 px is lower.
        solidity: (R,) float32, the area as a share of the area of the convex hull.
    """

    yx: np.ndarray
    areas_px: np.ndarray
    likeness: np.ndarray
    contrast: np.ndarray
    solidity: np.ndarray


@dataclass(frozen=True)
class Unlabeled:
    """What looks like a cell in an image, measured in one way with and without labels.

    Attributes:
        labeled: The region in each labelled cell, if it has one.
        unlabeled: The regions without a label; the 500 largest at most.
    """

    labeled: Regions
    unlabeled: Regions


def find_unlabeled(density: np.ndarray, label_map: np.ndarray) -> Unlabeled | None:
    """Finds regions that look like cells; None if the image has fewer than ``MIN_CELLS`` cells, or no background.

    Args:
        density: (H, W, 3) float32 optical densities.
        label_map: (H, W) int32, 0 for background.
    """
    areas_px = np.bincount(label_map.ravel())[1:]
    areas_px = areas_px[areas_px > 0]
    if len(areas_px) < MIN_CELLS:
        return None
    likeness = _likeness(density, label_map)
    if likeness is None:
        return None
    radius = max(_MIN_OPENING_PX, round(.3 * float(np.sqrt(np.median(areas_px) / np.pi))))
    is_like = _open((likeness > .5).astype(np.uint8), radius)
    # Both are measured in one way: what is like a cell, up to 1 px outside of labels, belongs to the labelled cells.
    labels = cv2.dilate(label_map.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    labels[label_map > 0] = label_map[label_map > 0]
    free = _open((is_like & (labels == 0)).astype(np.uint8), radius)
    return Unlabeled(_measure(np.where(is_like, labels, 0), likeness), _measure_free(free, likeness))


def _likeness(density: np.ndarray, label_map: np.ndarray) -> np.ndarray | None:
    """Returns the likeness (H, W) float32 of each pixel to the cells of the image; None if they do not differ.

    Pixels whose colours hardly any labelled cell has, for example of ink, have the likeness of the background.
    """
    features = np.concatenate([cv2.GaussianBlur(density, (0, 0), sigma) for sigma in (_SIGMA_PX, 2 * _SIGMA_PX)], 2)
    is_cell = label_map > 0
    is_far = cv2.distanceTransform((~is_cell).astype(np.uint8), cv2.DIST_L2, 3) > _MARGIN_PX
    rng = np.random.default_rng(0)
    cells, background = (_sample(rng, features[where]) for where in (is_cell, is_far))
    if min(len(cells), len(background)) < 100:
        return None
    background = _trim(background)
    means = [values.mean(axis=0) for values in (cells, background)]
    # Fisher's discriminant: the direction in which the two means differ most, relative to the scatter around them.
    scatter = _covariance(cells) + _covariance(background)
    direction = np.linalg.solve(scatter, means[0] - means[1])
    length = float(direction @ (means[0] - means[1]))
    if length < 1e-6:
        return None
    likeness = (features - means[1]) @ (direction / length)
    farthest = np.quantile(_distances(cells, cells), _TYPICAL)
    return np.where(_distances(features.reshape(-1, features.shape[2]), cells).reshape(is_cell.shape) <= farthest,
                    likeness, np.minimum(likeness, 0)).astype(np.float32)


def _covariance(values: np.ndarray) -> np.ndarray:
    return np.cov(values, rowvar=False) + 1e-4 * np.eye(values.shape[1])


def _distances(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the squared Mahalanobis distance (P,) of each value (P, F) to the mean of a reference (Q, F)."""
    differences = values - reference.mean(axis=0)
    return np.einsum('pf,fg,pg->p', differences, np.linalg.inv(_covariance(reference)), differences, optimize=True)


def _trim(values: np.ndarray) -> np.ndarray:
    """Leaves out the values that are farthest from the mean: ink, folds, and cells without a label."""
    distances = _distances(values, values)
    return values[distances <= np.quantile(distances, 1 - _TRIMMED)]


def _sample(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return values[rng.choice(len(values), min(len(values), _MAX_SAMPLES), replace=False)].astype(np.float64)


def _open(mask: np.ndarray, radius: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel) > 0


def _measure_free(free: np.ndarray, likeness: np.ndarray) -> Regions:
    labels = ndimage.label(free)[0]
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    largest = np.argsort(-areas, kind='stable')[:MAX_REGIONS]
    largest = np.sort(largest[areas[largest] > 0])
    numbers = np.zeros(len(areas), np.int32)
    numbers[largest] = np.arange(1, len(largest) + 1)
    return _measure(numbers[labels], likeness)


def _measure(labels: np.ndarray, likeness: np.ndarray) -> Regions:
    """Measures the regions of a label map; labels that do not occur are left out."""
    boxes = ndimage.find_objects(labels)
    rows = [_measure_region(labels, likeness, number, box) for number, box in enumerate(boxes, 1) if box is not None]
    values = np.array(rows, np.float32).reshape(-1, 6)
    return Regions(values[:, :2], values[:, 2].astype(np.int64), values[:, 3], values[:, 4], values[:, 5])


def _measure_region(labels: np.ndarray, likeness: np.ndarray, number: int, box: tuple[slice, slice]) -> tuple:
    margin = 4
    rows, columns = (slice(max(part.start - margin, 0), part.stop + margin) for part in box)
    mask = (labels[rows, columns] == number).astype(np.uint8)
    values = likeness[rows, columns]
    ring = (cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0) & (labels[rows, columns] == 0)
    y, x = np.nonzero(mask)
    inside = values[y, x].mean()
    around = values[ring].mean() if ring.any() else inside
    corners = np.concatenate([np.stack([x + dx, y + dy], axis=1) for dx in (0, 1) for dy in (0, 1)]).astype(np.int32)
    return (rows.start + y.mean(), columns.start + x.mean(), len(y), inside, inside - around,
            len(y) / cv2.contourArea(cv2.convexHull(corners)))
