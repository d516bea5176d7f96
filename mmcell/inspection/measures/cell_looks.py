"""Measures how cells look: their colours, their texture, and how they differ from their surroundings."""

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import expand_labels

# The surroundings of a cell are the background pixels up to this distance.
RING_PX = 3


@dataclass(frozen=True)
class CellLooks:
    """The looks of the M cells of an image, in the order of its annotations. Optical density is -ln(value / 255).

    Attributes:
        inside: (M, 3) float32, the mean optical densities of red, green and blue in the cell; NaN for a cell of which
            nothing is seen, because others cover it.
        around: (M, 3) float32, the mean optical densities in the ring around the cell; NaN for a cell without one.
        texture: (M,) float32, the standard deviation of the optical density, averaged over the colours, in the cell.
        background: (3,) float32, the median optical densities of the pixels that belong to no cell; NaN without any.
    """

    inside: np.ndarray
    around: np.ndarray
    texture: np.ndarray
    background: np.ndarray


def optical_density(image: np.ndarray) -> np.ndarray:
    """Returns the optical densities (H, W, 3) float32 of an image (H, W, 3) uint8; a black pixel counts as 1 of 255."""
    table = -np.log(np.arange(256).clip(1) / 255)
    return table.astype(np.float32)[image]


def measure_looks(density: np.ndarray, label_map: np.ndarray, n_cells: int) -> CellLooks:
    """Measures the looks of the cells 1 to ``n_cells`` of a label map in an image of optical densities (H, W, 3)."""
    ring = np.where(label_map == 0, expand_labels(label_map, RING_PX), 0)
    inside, around = (_means(density, labels, n_cells) for labels in (label_map, ring))
    total = cv2.GaussianBlur(density.mean(axis=2), (0, 0), .7)
    means, squares = (_means(values[..., None], label_map, n_cells)[:, 0] for values in (total, total ** 2))
    free = density[label_map == 0]
    background = np.median(free[::max(1, len(free) // 20_000)], axis=0) if len(free) else np.full(3, np.nan)
    return CellLooks(inside, around, np.sqrt((squares - means ** 2).clip(0)), background.astype(np.float32))


def _means(values: np.ndarray, labels: np.ndarray, n_cells: int) -> np.ndarray:
    """Returns the means (n_cells, C) float32 of the channels over the pixels of each label."""
    flat = labels.ravel()
    counts = np.bincount(flat, minlength=n_cells + 1)[1:]
    sums = np.stack([np.bincount(flat, channel.ravel(), n_cells + 1)[1:] for channel in np.moveaxis(values, -1, 0)], 1)
    with np.errstate(invalid='ignore'):
        return (sums / counts[:, None]).astype(np.float32)
