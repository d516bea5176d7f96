"""Masks that may overlap, painted into a label map in which each pixel belongs to one of them."""

import numpy as np

from mmcell.ragged import elements_of


def painting_order(scores: np.ndarray, areas_px: np.ndarray) -> np.ndarray:
    """Returns the order in which masks are painted, (N,) int64: a later mask covers the earlier ones.

    A mask with a higher score covers one with a lower score. Of equal scores the smaller mask is seen, and of equal
    areas the earlier one. What is seen of a mask therefore depends only on the masks above it. True cells, which have
    no scores, are painted with equal scores; then a perfect prediction with equal scores is painted as the truth is.

    Args:
        scores: (N,) float.
        areas_px: (N,) int.
    """
    return np.lexsort((np.arange(len(scores)), areas_px, -np.asarray(scores)))[::-1]


def visible_areas_px(positions: np.ndarray, areas_px: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Counts the pixels of each mask, (N,) int64, that are left of it when all are painted into one label map.

    The masks are painted in the order of :func:`painting_order`.

    Args:
        positions: (P,) int64, the pixels of the N masks, mask after mask.
        areas_px: (N,) int64, the number of pixels of each mask.
        scores: (N,) float.
    """
    # In the example of paint_masks, from the top, mask 1 has the pixels [1, 2, 3] and mask 0 has [0, 1]. Pixel 1 occurs
    # first in mask 1, so that the masks keep [1, 3] pixels.
    from_top = painting_order(scores, areas_px)[::-1]
    mask = np.repeat(from_top, np.asarray(areas_px)[from_top])
    _, first = np.unique(positions[elements_of(areas_px, from_top)], return_index=True)
    return np.bincount(mask[first], minlength=len(from_top))


def paint_masks(label_map: np.ndarray, positions: np.ndarray, areas_px: np.ndarray, scores: np.ndarray,
                numbers: np.ndarray) -> None:
    """Paints masks into a label map, in place, in the order of :func:`painting_order`.

    Pixels of the map that are not 0 keep their value.

    Args:
        label_map: (H, W) integers, 0 = background; changed.
        positions: (P,) int64, the pixels of the N masks, mask after mask. Pixel (y, x) has the position x * H + y.
        areas_px: (N,) int64, the number of pixels of each mask.
        scores: (N,) float.
        numbers: (N,) positive integers, the values of the masks in the map.
    """
    # An image of height 1 has two masks. Mask 0 has the number 7, the score .6 and the pixels 0 and 1; mask 1 has the
    # number 8, the score .9 and the pixels 1, 2 and 3. In the order [0, 1] the pixels [0, 1, 1, 2, 3] get the values
    # [7, 7, 8, 8, 8]. If a pixel occurs several times, NumPy keeps the value that is assigned last: [7, 8, 8, 8].
    order = painting_order(scores, areas_px)
    x, y = np.divmod(positions[elements_of(areas_px, order)], label_map.shape[0])
    values = np.repeat(np.asarray(numbers)[order], np.asarray(areas_px)[order])
    is_free = label_map[y, x] == 0
    label_map[y[is_free], x[is_free]] = values[is_free]
