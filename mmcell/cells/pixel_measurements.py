"""Measurements of cells that need an image of them: outline and convexity, and the values of the pixels."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.masks.layers import place_in_layers
from mmcell.ragged import split_by

# Reads the rectangle (x0, y0, x1, y1) of an image, (y1 - y0, x1 - x0, C).
ReadRect = Callable[[int, int, int, int], np.ndarray]

# Cells are measured in blocks of this side, so that memory does not grow with the image.
BLOCK_PX = 1024


def measure_shapes(cells: Cells, mpp: float | None = None) -> dict[str, np.ndarray]:
    """Measures perimeter and solidity of each cell, by ``skimage.measure.regionprops``.

    The perimeter is a line through the centres of the pixels at the border. Solidity is the area over the area of the
    convex hull of the pixels: 1 for a convex cell. A cell of one pixel has the perimeter 0 and the solidity 1.

    Args:
        cells: N cells of one image, each with at least one pixel.
        mpp: Micrometres per pixel, with which the perimeter in micrometres is added; None if not known.

    Returns:
        An array of N values for each of the keys perimeter_px, solidity and, with ``mpp``, perimeter_um.
    """
    measured = _measure(cells, ('perimeter', 'solidity'), None)
    shapes = {'perimeter_px': measured['perimeter'], 'solidity': measured['solidity']}
    if mpp is not None:
        shapes['perimeter_um'] = shapes['perimeter_px'] * mpp
    return shapes


def measure_values(cells: Cells, read: ReadRect, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Measures mean and standard deviation of the pixels of each cell, in each channel.

    Args:
        cells: N cells of one image, each with at least one pixel.
        read: Reads a rectangle of the image, whose C channels have these names.
        names: The names of the channels.

    Returns:
        An array of N values for each of the keys mean_<name> and sd_<name>, in the units of what was read.
    """
    measured = _measure(cells, ('intensity_mean', 'intensity_std'), read, len(names))
    return {f'{short}_{name}': measured[f'{key}-{channel}' if len(names) > 1 else key]
            for short, key in (('mean', 'intensity_mean'), ('sd', 'intensity_std'))
            for channel, name in enumerate(names)}


def _measure(cells: Cells, properties: tuple[str, ...], read: ReadRect | None,
             n_channels: int = 1) -> dict[str, np.ndarray]:
    """Returns properties of scikit-image's ``regionprops_table`` for N cells, (N,) float64 each."""
    from skimage.measure import regionprops_table
    keys = [f'{key}-{channel}' for key in properties for channel in range(n_channels)] if n_channels > 1 else properties
    found = {key: np.zeros(len(cells)) for key in keys}
    for index in _blocks(cells):
        some = cells.take(index)
        extents = some.masks.extents_xyxy
        left, top = extents[:, :2].min(axis=0).tolist()
        right, bottom = extents[:, 2:].max(axis=0).tolist()
        values = None if read is None else read(left, top, right, bottom)
        if values is not None and n_channels == 1:
            values = values[:, :, 0]
        x, y = np.divmod(some.masks.positions, some.masks.height)
        layers, _ = place_in_layers((y - top) * (right - left) + x - left, some.masks.areas_px,
                                    (bottom - top) * (right - left))
        for layer in layers.reshape(-1, bottom - top, right - left):
            table = regionprops_table(layer, values, ('label', *properties))
            for key in keys:
                found[key][index[table['label'] - 1]] = table[key]
    return found


def _blocks(cells: Cells) -> Iterator[np.ndarray]:
    """Yields the indices (K,) int64 of the cells whose middle lies in each block of the image that has any."""
    extents = cells.masks.extents_xyxy
    column, row = ((extents[:, :2] + extents[:, 2:]) // (2 * BLOCK_PX)).T
    _, block = np.unique(row * (cells.masks.width // BLOCK_PX + 1) + column, return_inverse=True)
    yield from split_by(block) if len(cells) else ()


def count_neighbours(centroids_um: np.ndarray, distance_um: float, all_um: np.ndarray | None = None) -> np.ndarray:
    """Returns for each of N cells how many others have their centroid within a distance, (N,) int64.

    Args:
        centroids_um: (N, 2) float in micrometres.
        distance_um: The distance in micrometres; a centroid at exactly this distance counts.
        all_um: (M, 2) float, the centroids of these cells and of others that count as neighbours; None: of these only.
    """
    from scipy.spatial import KDTree
    if not len(centroids_um):
        return np.zeros(0, np.int64)
    tree = KDTree(centroids_um if all_um is None else all_um)
    return tree.query_ball_point(centroids_um, distance_um, return_length=True) - 1
