"""Measurements of cells, from their pixels."""

import numpy as np

from mmcell.inference.cells import Cells


def measure_cells(cells: Cells, mpp: float | None = None) -> dict[str, np.ndarray]:
    """Area, centroid and axes of each cell, N values each.

    The origin is the outer corner of the first pixel, whose centre is at (.5, .5). The axes are those of the ellipse
    with the same second central moments, four times the square root of the eigenvalues of their matrix, and the
    eccentricity is of that ellipse: the definitions of ``skimage.measure.regionprops`` (axis_major_length,
    axis_minor_length, eccentricity), 0 for a cell of one pixel.

    Args:
        cells: of one image.
        mpp: micrometres a pixel; adds the columns in um.

    Returns:
        area_px, centroid_x_px, centroid_y_px, major_axis_px, minor_axis_px, eccentricity; with mpp also area_um2,
        centroid_x_um, centroid_y_um, major_axis_um, minor_axis_um.
    """
    area = cells.areas_px
    x_mean, y_mean, large, small = _moments(cells)
    lengths_px = {'centroid_x': x_mean + .5, 'centroid_y': y_mean + .5,
                  'major_axis': 4 * np.sqrt(large), 'minor_axis': 4 * np.sqrt(small)}
    ratio = np.divide(small, large, out=np.ones(len(cells)), where=large > 0)
    measured = {'area_px': area, **{f'{name}_px': length for name, length in lengths_px.items()},
                'eccentricity': np.sqrt(1 - ratio)}
    if mpp is not None:
        measured['area_um2'] = area * mpp ** 2
        measured.update({f'{name}_um': length * mpp for name, length in lengths_px.items()})
    return measured


def _moments(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean column and row of each cell's pixels, and the eigenvalues of their covariance, the larger first; (N,)."""
    if len(cells) == 0:
        return (np.zeros(0),) * 4
    x, y, area = cells.pixels
    first = cells.first_pixels
    x_mean, y_mean = (np.add.reduceat(values, first) / area for values in (x, y))
    dx, dy = (values - np.repeat(mean, area) for values, mean in ((x, x_mean), (y, y_mean)))
    xx, yy, xy = (np.add.reduceat(product, first) / area for product in (dx * dx, dy * dy, dx * dy))
    half_trace, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return x_mean, y_mean, half_trace + radius, np.maximum(half_trace - radius, 0)
