"""Measurements of cells, computed from their pixels."""

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.masks.runs import MaskRuns
from mmcell.ragged import reduce_groups


def measure_cells(cells: Cells, mpp: float | None = None) -> dict[str, np.ndarray]:
    """Measures area, centroid, axes and eccentricity of each cell.

    The origin of coordinates is the outer corner of the first pixel, whose centre is at (.5, .5). Axes and eccentricity
    belong to the ellipse with the same second central moments as the cell; the axes are four times the square roots of
    the eigenvalues of the covariance matrix of the pixels. These are the definitions of
    ``skimage.measure.regionprops`` (axis_major_length, axis_minor_length, eccentricity). For a cell of one pixel, both
    axes and the eccentricity are 0.

    Args:
        cells: N cells of one image, each with at least one pixel.
        mpp: Micrometres per pixel, with which the values in micrometres are added; None if not known.

    Returns:
        An array of N values for each of the keys area_px, centroid_x_px, centroid_y_px, major_axis_px, minor_axis_px
        and eccentricity; with ``mpp`` also area_um2, centroid_x_um, centroid_y_um, major_axis_um and minor_axis_um.
    """
    area = cells.masks.areas_px
    x_mean, y_mean, large, small = moments_of(cells.masks)
    lengths_px = {'centroid_x': x_mean + .5, 'centroid_y': y_mean + .5,
                  'major_axis': 4 * np.sqrt(large), 'minor_axis': 4 * np.sqrt(small)}
    ratio = np.divide(small, large, out=np.ones(len(cells)), where=large > 0)
    measured = {'area_px': area, **{f'{name}_px': length for name, length in lengths_px.items()},
                'eccentricity': np.sqrt(1 - ratio)}
    if mpp is not None:
        measured['area_um2'] = area * mpp ** 2
        measured.update({f'{name}_um': length * mpp for name, length in lengths_px.items()})
    return measured


def centroids_of(cells: Cells) -> np.ndarray:
    """Returns the centroids of N cells, which have at least one pixel each, as :func:`measure_cells` does: (N, 2) xy.

    They are in px from the outer corner of the first pixel.
    """
    x_mean, y_mean, *_ = moments_of(cells.masks)
    return np.stack([x_mean, y_mean], axis=1) + .5


def moments_of(masks: MaskRuns) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first and second moments of the pixels of N masks, which have at least one pixel each.

    Returns:
        The mean column, the mean row, and the larger and the smaller eigenvalue of their covariance in px squared,
        (N,) float64 each.
    """
    # Cell by cell: with areas [4, 1], the columns [2, 2, 2, 3 | 3] have the sums [9, 3] and the means [2.25, 3];
    # np.repeat gives each pixel the mean of its cell, [2.25, 2.25, 2.25, 2.25, 3].
    area = masks.areas_px
    x, y = np.divmod(masks.positions, masks.height)
    x_mean, y_mean = (reduce_groups(np.add, values, area) / area for values in (x, y))
    dx, dy = (values - np.repeat(mean, area) for values, mean in ((x, x_mean), (y, y_mean)))
    xx, yy, xy = (reduce_groups(np.add, product, area) / area for product in (dx * dx, dy * dy, dx * dy))
    # The eigenvalues of [[xx, xy], [xy, yy]] are half its trace, plus and minus the radius of Mohr's circle.
    half_trace, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return x_mean, y_mean, half_trace + radius, np.maximum(half_trace - radius, 0)
