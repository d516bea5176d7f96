"""Overlaps of true and predicted cells, as a sparse table of the pairs that share at least one pixel."""

from dataclasses import dataclass, replace

import numpy as np

from mmcell.ragged import begins_of_runs, new_indices, sums_of_pairs


@dataclass(frozen=True)
class Overlaps:
    """N true cells, M predicted cells, and the P pairs of a true and a predicted cell that share pixels.

    Attributes:
        true_areas_px: (N,) int64.
        pred_areas_px: (M,) int64.
        true_index: (P,) int64, the true cell of each pair. Pairs are sorted by it.
        pred_index: (P,) int64, the predicted cell of each pair. It is ascending among the pairs of one true cell.
        intersections_px: (P,) int64, the number of shared pixels, more than 0.
    """

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
        # stay. The new places of the kept predictions are [0, -, 1], so that the new pred_index is [0, 1, 1].
        pairs = is_kept[self.pred_index]
        return replace(
            self, pred_areas_px=self.pred_areas_px[is_kept], true_index=self.true_index[pairs],
            pred_index=new_indices(is_kept)[self.pred_index[pairs]], intersections_px=self.intersections_px[pairs])


def overlaps_of_label_maps(true_map: np.ndarray, pred_map: np.ndarray) -> tuple[Overlaps, np.ndarray, np.ndarray]:
    """Computes the overlaps of the instances of two label maps.

    The time is one pass over the pixels plus a sort of the stretches of equal pixels. The memory does not grow with
    N x M.

    Args:
        true_map: (H, W) integers, 0 = background. Ids may have gaps.
        pred_map: The predicted map, of the same shape.

    Returns:
        The overlaps, and the ids (N,) and (M,) int64 of the true and the predicted instances, ascending.
    """
    # The true pixels [0, 7, 7, 7, 9, 9] and the predicted pixels [0, 0, 3, 3, 3, 0] make five stretches in which both
    # stay the same: starts = [0, 1, 2, 4, 5], lengths_px = [1, 1, 2, 1, 1]. The true ids are [7, 9] with the stretches
    # true_index = [-1, 0, 0, 1, 1], the predicted id is [3] with pred_index = [-1, -1, 0, 0, -1]. Both are inside a
    # cell in the third and the fourth stretch: 7 and 3 share 2 px, 9 and 3 share 1 px.
    true_pixels, pred_pixels = true_map.ravel(order='F'), pred_map.ravel(order='F')
    starts = begins_of_runs(true_pixels, pred_pixels)[:true_pixels.size]  # a map without pixels has no stretch
    lengths_px = np.diff(starts, append=true_pixels.size)
    true_ids, true_index, true_areas_px = _instances_of(true_pixels[starts], lengths_px)
    pred_ids, pred_index, pred_areas_px = _instances_of(pred_pixels[starts], lengths_px)
    both = (true_index >= 0) & (pred_index >= 0)
    pairs = sums_of_pairs(true_index[both], pred_index[both], lengths_px[both], (len(true_ids), len(pred_ids)))
    return Overlaps(true_areas_px, pred_areas_px, *pairs), true_ids, pred_ids


def _instances_of(labels: np.ndarray, lengths_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the instances of a label map that is given as S stretches of equal pixels.

    Returns:
        The ids (N,) ascending, the position of each stretch among them (S,), -1 in the background, and the areas (N,).
    """
    # The labels [0, 7, 7, 9, 9] with the lengths [1, 1, 2, 1, 1] have the values [0, 7, 9] with the areas [1, 3, 2].
    # Without the background the positions of the values are [-1, 0, 1], so that this returns the ids [7, 9], the
    # positions [-1, 0, 0, 1, 1] and the areas [3, 2].
    values, index = np.unique(labels, return_inverse=True)
    areas_px = np.bincount(index, lengths_px, minlength=len(values)).astype(np.int64)
    is_instance = values != 0
    positions = np.where(is_instance, new_indices(is_instance), -1)
    return values[is_instance].astype(np.int64), positions[index], areas_px[is_instance]
