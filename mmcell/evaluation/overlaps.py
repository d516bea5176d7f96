"""Overlaps of true and predicted cells, as a sparse table of the pairs that share at least one pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from mmcell.masks.rle import foreground_pixels_of_all


@dataclass(frozen=True)
class Overlaps:
    """N true cells, M predicted cells, and the P pairs of a true and a predicted cell that share pixels.

    Attributes:
        true_ids: (N,) int64, the ids of the true cells in their label map, or their positions in the list of RLEs.
        pred_ids: (M,) int64, the ids or positions of the predicted cells.
        true_areas_px: (N,) int64.
        pred_areas_px: (M,) int64.
        true_index: (P,) int64, the position in ``true_ids`` of the true cell of each pair. Pairs are sorted by it.
        pred_index: (P,) int64, the position in ``pred_ids`` of the predicted cell of each pair. It is ascending among
            the pairs of one true cell.
        intersections_px: (P,) int64, the number of shared pixels, more than 0.
    """

    true_ids: np.ndarray
    pred_ids: np.ndarray
    true_areas_px: np.ndarray
    pred_areas_px: np.ndarray
    true_index: np.ndarray
    pred_index: np.ndarray
    intersections_px: np.ndarray

    @property
    def unions_px(self) -> np.ndarray:
        """(P,) int64, the number of pixels that belong to one or both cells of each pair."""
        return (self.true_areas_px[self.true_index] + self.pred_areas_px[self.pred_index]) - self.intersections_px

    @property
    def ious(self) -> np.ndarray:
        """(P,) float64, the intersection over union of each pair, above 0 and at most 1."""
        return self.intersections_px / self.unions_px

    def of_predictions(self, is_kept: np.ndarray) -> 'Overlaps':
        """Returns the overlaps with only some of the predictions.

        Args:
            is_kept: (M,) bool, whether a prediction is kept.
        """
        # Predictions 0 and 2 of three are kept, and the pairs have the pred_index [0, 1, 2, 2]. The pairs 0, 2 and 3
        # stay. The cumulative sum of is_kept minus 1, [0, 0, 1], is the new position of each kept prediction, so that
        # the new pred_index is [0, 1, 1].
        pairs = is_kept[self.pred_index]
        return replace(
            self, pred_ids=self.pred_ids[is_kept], pred_areas_px=self.pred_areas_px[is_kept],
            true_index=self.true_index[pairs], pred_index=(np.cumsum(is_kept) - 1)[self.pred_index[pairs]],
            intersections_px=self.intersections_px[pairs])


def overlaps_of_label_maps(true_map: np.ndarray, pred_map: np.ndarray) -> Overlaps:
    """Computes the overlaps of the instances of two label maps.

    The time is one pass over the pixels plus a sort of the stretches of equal pixels. The memory does not grow with
    N x M.

    Args:
        true_map: (H, W) integers, 0 = background. Ids may have gaps.
        pred_map: (H, W) integers, 0 = background. Ids may have gaps.

    Raises:
        ValueError: The maps have different shapes.
    """
    if true_map.shape != pred_map.shape:
        raise ValueError('the two label maps of an image must have one shape, '
                         f'got {true_map.shape} and {pred_map.shape}')
    # The true pixels [0, 7, 7, 7, 9, 9] and the predicted pixels [0, 0, 3, 3, 3, 0] make five stretches in which both
    # stay the same: starts = [0, 1, 2, 4, 5], lengths_px = [1, 1, 2, 1, 1]. The true ids are [7, 9] with the stretches
    # true_index = [-1, 0, 0, 1, 1], the predicted id is [3] with pred_index = [-1, -1, 0, 0, -1]. Both are inside a
    # cell in the third and the fourth stretch: 7 and 3 share 2 px, 9 and 3 share 1 px. csr_array adds up the stretches
    # of the same pair. The slice below removes the start 0 if the maps have no pixel.
    true_pixels, pred_pixels = true_map.ravel(order='F'), pred_map.ravel(order='F')
    is_bound = (true_pixels[1:] != true_pixels[:-1]) | (pred_pixels[1:] != pred_pixels[:-1])
    starts = np.append(0, np.flatnonzero(is_bound) + 1)[:true_pixels.size]
    lengths_px = np.diff(np.append(starts, true_pixels.size))
    true_ids, true_index, true_areas_px = _instances_of(true_pixels[starts], lengths_px)
    pred_ids, pred_index, pred_areas_px = _instances_of(pred_pixels[starts], lengths_px)
    both = (true_index >= 0) & (pred_index >= 0)
    table = csr_array((lengths_px[both], (true_index[both], pred_index[both])), shape=(len(true_ids), len(pred_ids)))
    return _overlaps(table, true_ids, pred_ids, true_areas_px, pred_areas_px)


def overlaps_of_rles(true_rles: Sequence[dict], pred_rles: Sequence[dict]) -> Overlaps:
    """Computes the overlaps of two sets of instances of one image; instances of the same set may overlap one another.

    The time is proportional to the areas of all instances together.

    Args:
        true_rles: N RLEs.
        pred_rles: M RLEs of the same size.

    Raises:
        ValueError: The RLEs differ in size, or an RLE is not valid.
    """
    sizes = {tuple(rle['size']) for rle in [*true_rles, *pred_rles]}
    if len(sizes) > 1:
        raise ValueError(f'RLEs of one image must have one size, got {sorted(sizes)}')
    n_pixels = int(np.prod(next(iter(sizes), (0, 0))))
    # With a row per instance and a column per pixel, the rows [1, 1, 1, 0] and [0, 1, 1, 1] share 2 px: their product.
    inside_true, true_areas_px = _instances_by_pixels(true_rles, n_pixels)
    inside_pred, pred_areas_px = _instances_by_pixels(pred_rles, n_pixels)
    return _overlaps(inside_true @ inside_pred.T.tocsr(), np.arange(len(true_rles)), np.arange(len(pred_rles)),
                     true_areas_px, pred_areas_px)


def _instances_of(labels: np.ndarray, lengths_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the instances of a label map that is given as S stretches of equal pixels.

    Args:
        labels: (S,) integers, the value of each stretch.
        lengths_px: (S,) int64, the number of pixels of each stretch.

    Returns:
        The ids (N,) int64 in ascending order, the position of each stretch's id among them (S,), which is -1 in the
        background, and the areas (N,) int64 in px.
    """
    # The labels [0, 7, 7, 9, 9] with the lengths [1, 1, 2, 1, 1] have the values [0, 7, 9] with the areas [1, 3, 2].
    # Without the background the positions of the values are [-1, 0, 1], so that this returns the ids [7, 9], the
    # positions [-1, 0, 0, 1, 1] and the areas [3, 2].
    values, index = np.unique(labels, return_inverse=True)
    areas_px = np.bincount(index, lengths_px, minlength=len(values)).astype(np.int64)
    is_instance = values != 0
    positions = np.where(is_instance, np.cumsum(is_instance) - 1, -1)
    return values[is_instance].astype(np.int64), positions[index], areas_px[is_instance]


def _instances_by_pixels(rles: Sequence[dict], n_pixels: int) -> tuple[csr_array, np.ndarray]:
    """Returns a sparse (N, n_pixels) table with a 1 for each pixel inside an instance, and the areas (N,) in px."""
    positions, areas_px = foreground_pixels_of_all(rles)
    # Instances with the pixels [1, 2, 5] and [0, 5] have row_starts = [0, 3, 5], as the CSR format wants it.
    row_starts = np.concatenate([[0], np.cumsum(areas_px)])
    return csr_array((np.ones(len(positions), np.int64), positions, row_starts), (len(rles), n_pixels)), areas_px


def _overlaps(table: csr_array, true_ids: np.ndarray, pred_ids: np.ndarray, true_areas_px: np.ndarray,
              pred_areas_px: np.ndarray) -> Overlaps:
    """Reads the pairs off a sparse (N, M) table of shared pixels."""
    table.sort_indices()
    # A table of two rows with two entries and one entry has indptr = [0, 2, 3]: true_index is [0, 0, 1].
    true_index = np.repeat(np.arange(len(true_ids)), np.diff(table.indptr))
    return Overlaps(true_ids, pred_ids, true_areas_px, pred_areas_px, true_index, table.indices.astype(np.int64),
                    table.data)
