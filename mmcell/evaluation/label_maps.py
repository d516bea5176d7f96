"""Paints instances that may overlap into label maps, and compares the two label maps of an image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.overlaps import Overlaps, overlaps_of_label_maps
from mmcell.masks.rle import foreground_pixels_of_all


def label_map_by_score(rles: Sequence[dict], scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paints instances so that each pixel belongs to the instance with the highest score that covers it.

    Among equal scores the smaller instance is seen, and among equal areas the earlier one. What is seen of an instance
    depends only on the instances above it: removing the instances below a score from the map gives the map that is
    painted without them.

    Args:
        rles: N RLEs of the given size.
        scores: (N,) float, the scores of the instances.
        size: Height and width in px.

    Returns:
        (H, W) int64, where 0 is background and i + 1 is instance i. An instance that others cover completely does not
        occur.

    Raises:
        ValueError: An RLE has another size, or is not valid.
    """
    for i, rle in enumerate(rles):
        if tuple(rle['size']) != tuple(size):
            raise ValueError(f"instance {i} has size {list(rle['size'])}, but its image {list(size)} (height, width)")
    # In an image of 8 pixels three instances cover the pixels 0 … 4, 1 … 5 and 3 … 6 and have the scores .9, .2 and .3.
    # The order is lowest_first = [1, 2, 0]. Instance 1 is painted as 2 at 1 … 5, instance 2 as 3 at 3 … 6, instance 0
    # as 1 at 0 … 4. The map is [1, 1, 1, 1, 1, 3, 3, 0], in which instance 1 is not seen.
    positions, areas_px = foreground_pixels_of_all(rles)
    pixels = np.zeros(size[0] * size[1], np.int64)
    if len(rles):
        lowest_first = np.lexsort((np.arange(len(rles)), areas_px, -scores))[::-1]
        positions_of = np.split(positions, np.cumsum(areas_px)[:-1])
        # If a pixel occurs several times, numpy keeps the value that is assigned last: the highest score.
        pixels[np.concatenate([positions_of[i] for i in lowest_first])] = np.repeat(
            lowest_first + 1, areas_px[lowest_first])
    return pixels.reshape(size, order='F')


def centroids_xy(label_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns the mean pixel positions (N, 2) float64 of instances, x and y in px; pixel centres are whole numbers.

    Args:
        label_map: (H, W) integers, not negative.
        ids: (N,) ids that occur in the label map.
    """
    # In column-major order the map [[0, 7], [2, 7]] is [0, 2, 7, 7]: positions = [1, 2, 3] and labels = [2, 7, 7]. With
    # the height 2, x = positions // 2 = [0, 1, 1] and y = positions % 2 = [1, 0, 1]. The sums per label, divided by the
    # areas [1, 2] of the ids [2, 7], give the centroids [[0, 1], [1, .5]].
    pixels = label_map.ravel(order='F')
    positions = np.flatnonzero(pixels)
    labels, height = pixels[positions], label_map.shape[0]
    areas_px = np.bincount(labels)[ids]
    return np.stack([np.bincount(labels, positions // height)[ids] / areas_px,
                     np.bincount(labels, positions % height)[ids] / areas_px], axis=1)


@dataclass(frozen=True)
class PaintedPair:
    """The comparison of the true and the predicted label map of an image.

    Attributes:
        overlaps: The overlaps of the N true and M predicted cells that are seen in the maps. The ids are positions in
            the :class:`ImagePair` plus 1.
        true_classes: (N,) int64 category ids.
        pred_classes: (M,) int64 category ids.
        pred_scores: (M,) float64, from 0 to 1.
        true_centroids_xy: (N, 2) float64, in px.
        pred_centroids_xy: (M, 2) float64, in px.
    """

    overlaps: Overlaps
    true_classes: np.ndarray
    pred_classes: np.ndarray
    pred_scores: np.ndarray
    true_centroids_xy: np.ndarray
    pred_centroids_xy: np.ndarray

    def above(self, score_threshold: float) -> 'PaintedPair':
        """Returns the comparison as if only the predictions with at least this score had been painted."""
        is_kept = self.pred_scores >= score_threshold
        return replace(
            self, overlaps=self.overlaps.of_predictions(is_kept), pred_classes=self.pred_classes[is_kept],
            pred_scores=self.pred_scores[is_kept], pred_centroids_xy=self.pred_centroids_xy[is_kept])


def paint_pair(pair: ImagePair) -> PaintedPair:
    """Paints the two label maps of an image and compares them.

    Predictions are painted by :func:`label_map_by_score`. True cells are painted as if all had one score, so that the
    smaller of two overlapping cells is seen. A prediction equal to the truth, with equal scores, therefore gives the
    same map as the truth.

    Raises:
        ValueError: An RLE has another size than the image, or is not valid.
    """
    size = pair.height, pair.width
    true_map = label_map_by_score(pair.true_rles, np.zeros(len(pair.true_rles)), size)
    pred_map = label_map_by_score(pair.pred_rles, pair.pred_scores, size)
    overlaps = overlaps_of_label_maps(true_map, pred_map)
    seen_true, seen_pred = overlaps.true_ids - 1, overlaps.pred_ids - 1
    return PaintedPair(
        overlaps, pair.true_classes[seen_true], pair.pred_classes[seen_pred], pair.pred_scores[seen_pred],
        centroids_xy(true_map, overlaps.true_ids), centroids_xy(pred_map, overlaps.pred_ids))
