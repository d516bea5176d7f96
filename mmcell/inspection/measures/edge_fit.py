"""Measures how well the outlines of masks lie on the edges of an image, and where they would lie better."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

# Shifts of the masks by up to this many px down, up, right and left are tried.
REACH_PX = 10
SIDE = 2 * REACH_PX + 1
# The image is smoothed with this sigma, and the outlines with the other one, so that single pixels do not matter.
_SIGMA_IMAGE_PX, _SIGMA_OUTLINE_PX = 1., 1.5
# At most this many pixels of outlines are looked at, chosen at random: enough for several hundred cells.
_MAX_OUTLINE_PX = 20_000
# A cell of which fewer pixels of the outline lie against the background says nothing.
_MIN_OUTLINE_PX = 8


@dataclass(frozen=True)
class EdgeFit:
    """The fit of the outlines of M cells to the edges of their image.

    The fit of a cell is the mean, over its outline, of the image's gradient in the direction of the outline's normal;
    gradients are divided by their length plus the median length in the image, so that they are between -1 and 1. Only
    outlines against the background count.

    Attributes:
        n_cells: How many cells were looked at.
        mean: (21, 21) float32, the mean fit of the cells if all masks are shifted by (row - 10, column - 10) px. It is
            positive where the shifted masks fit, whether cells are darker or brighter than their surroundings.
        gain: (21, 21) float32, the mean difference of the fit of a cell to its fit without a shift, divided by its
            standard error: a paired t-statistic.
        share_better: (21, 21) float32, the share of the cells that fit better than without a shift.
        error: The standard error of the mean fit without a shift.
        turned: The mean fit of the masks turned or mirrored with the image's frame: a dict with the names of
            ``TURNS`` that keep the image's height and width, each with the mean and its standard error.
    """

    n_cells: int
    mean: np.ndarray
    gain: np.ndarray
    share_better: np.ndarray
    error: float
    turned: dict[str, tuple[float, float]]

    @property
    def here(self) -> float:
        """The mean fit of the masks as they are."""
        return float(self.mean[REACH_PX, REACH_PX])

    @property
    def best_shift_px(self) -> tuple[int, int]:
        """The shift (down, right) in px with which the masks fit best."""
        row, column = np.unravel_index(self.mean.argmax(), self.mean.shape)
        return int(row) - REACH_PX, int(column) - REACH_PX


TURNS = {
    'mirrored left to right': lambda array: array[:, ::-1],
    'mirrored top to bottom': lambda array: array[::-1],
    'turned by 180 degrees': lambda array: array[::-1, ::-1],
    'mirrored along the diagonal': lambda array: array.T,
    'turned by 90 degrees to the left': lambda array: np.rot90(array),
    'turned by 90 degrees to the right': lambda array: np.rot90(array, 3),
}


def measure_edge_fit(image: np.ndarray, label_map: np.ndarray) -> EdgeFit | None:
    """Measures the fit of masks to an image.

    Args:
        image: (H, W, 3) uint8.
        label_map: (H, W) int32, 0 for background.

    Returns:
        The fit; None if fewer than three cells have enough outline against the background.
    """
    gradient = _limited_gradient(image)
    outlines = _find_outlines(label_map, REACH_PX)
    if outlines is None:
        return None
    steps = np.arange(-REACH_PX, REACH_PX + 1)
    fits = np.stack([_fit_cells(gradient, outlines, dy, dx) for dy in steps for dx in steps])
    means, n_cells = fits.mean(axis=1), fits.shape[1]
    # Where the masks fit best, the fit is negative if cells are darker than their surroundings.
    fits *= np.sign(means[np.abs(means).argmax()])
    differences = fits - fits[len(fits) // 2]
    errors = differences.std(1, ddof=1) / np.sqrt(n_cells)
    gain = np.divide(differences.mean(1), errors, out=np.zeros(len(fits)), where=errors > 0)
    mean, gain, better = (values.reshape(SIDE, SIDE).astype(np.float32)
                          for values in (fits.mean(1), gain, (differences > 0).mean(1)))
    here = fits[len(fits) // 2]
    return EdgeFit(n_cells, mean, gain, better, float(here.std(ddof=1) / np.sqrt(n_cells)),
                   _fit_turned(gradient, label_map))


def _fit_turned(gradient: tuple[np.ndarray, np.ndarray], label_map: np.ndarray) -> dict[str, tuple[float, float]]:
    fits = {}
    for name, turn in TURNS.items():
        turned = turn(label_map)
        if turned.shape == label_map.shape and (outlines := _find_outlines(turned, 0)) is not None:
            values = _fit_cells(gradient, outlines, 0, 0)
            fits[name] = float(abs(values.mean())), float(values.std(ddof=1) / np.sqrt(len(values)))
    return fits


def _limited_gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient of the brightness down and to the right, (H, W) float32 each, at most 1 long."""
    gray = cv2.GaussianBlur(image.mean(axis=2, dtype=np.float32), (0, 0), _SIGMA_IMAGE_PX)
    down, right = np.gradient(gray) if min(gray.shape) > 1 else (np.zeros_like(gray), np.zeros_like(gray))
    length = np.hypot(down, right)
    # Half a grey value keeps the noise of even images small.
    length += np.median(length) + .5
    return down / length, right / length


def _find_outlines(label_map: np.ndarray, margin_px: int) -> tuple[np.ndarray, ...] | None:
    """Returns rows, columns, normals down and right, and cells (0 to M - 1) of pixels of outlines; None if M < 3."""
    is_cell = label_map > 0
    smooth = cv2.GaussianBlur(is_cell.astype(np.float32), (0, 0), _SIGMA_OUTLINE_PX)
    if min(smooth.shape) < 2 * margin_px + 2:
        return None
    down, right = np.gradient(smooth)
    length = np.hypot(down, right)
    is_outline = is_cell & ~ndimage.binary_erosion(is_cell, border_value=1) & (length > .05)
    if margin_px:
        is_outline[:margin_px] = is_outline[-margin_px:] = False
        is_outline[:, :margin_px] = is_outline[:, -margin_px:] = False
    rows, columns = np.nonzero(is_outline)
    if len(rows) > _MAX_OUTLINE_PX:
        chosen = np.random.default_rng(0).choice(len(rows), _MAX_OUTLINE_PX, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    _, cells, counts = np.unique(label_map[rows, columns], return_inverse=True, return_counts=True)
    is_kept = (counts >= _MIN_OUTLINE_PX)[cells]
    rows, columns = rows[is_kept], columns[is_kept]
    ids, cells = np.unique(cells[is_kept], return_inverse=True)
    if len(ids) < 3:
        return None
    length = length[rows, columns]
    return rows, columns, down[rows, columns] / length, right[rows, columns] / length, cells


def _fit_cells(gradient: tuple[np.ndarray, np.ndarray], outlines: tuple[np.ndarray, ...], dy: int,
               dx: int) -> np.ndarray:
    """Returns the fit (M,) of each cell if its mask is shifted by dy px down and dx px to the right."""
    rows, columns, down, right, cells = outlines
    values = down * gradient[0][rows + dy, columns + dx] + right * gradient[1][rows + dy, columns + dx]
    return np.bincount(cells, values) / np.bincount(cells)
