"""Label maps from instances that may overlap, and what an image's two label maps have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.overlaps import Overlaps, overlaps_of_label_maps
from mmcell.masks.rle import foreground_pixels_of_all


def label_map_by_score(rles: Sequence[dict], scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paints scored instances so that a pixel belongs to the instance with the highest score that covers it.

    Among equal scores the smaller instance is seen, and among equal areas the earlier one. What is seen of an instance
    depends on those above it alone: the map without the instances below a score is this map without their pixels.

    Args:
        rles: N RLEs of the given size.
        scores: (N,) float.
        size: height, width in px.

    Returns:
        (H, W) int64: 0 = background, i + 1 = instance i. An instance that others cover wholly does not occur.

    Raises:
        ValueError: an RLE has another size, or is not valid.
    """
    for i, rle in enumerate(rles):
        if tuple(rle['size']) != tuple(size):
            raise ValueError(f"instance {i} has size {list(rle['size'])}, its image {list(size)}")
    positions, areas_px = foreground_pixels_of_all(rles)
    pixels = np.zeros(size[0] * size[1], np.int64)
    if len(rles):
        lowest_first = np.lexsort((np.arange(len(rles)), areas_px, -scores))[::-1]
        positions_of = np.split(positions, np.cumsum(areas_px)[:-1])
        # Of several values for one pixel numpy keeps the last.
        pixels[np.concatenate([positions_of[i] for i in lowest_first])] = np.repeat(
            lowest_first + 1, areas_px[lowest_first])
    return pixels.reshape(size, order='F')


def centroids_xy(label_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean pixel position of instances, (N, 2) float64 as x, y in px; pixel centres are whole numbers.

    Args:
        label_map: (H, W) non-negative integers.
        ids: (N,) ids that occur in it.
    """
    pixels = label_map.ravel(order='F')
    positions = np.flatnonzero(pixels)
    labels, height = pixels[positions], label_map.shape[0]
    areas_px = np.bincount(labels)[ids]
    return np.stack([np.bincount(labels, positions // height)[ids] / areas_px,
                     np.bincount(labels, positions % height)[ids] / areas_px], axis=1)


@dataclass(frozen=True)
class PaintedPair:
    """The true and the predicted label map of an image, compared.

    Attributes:
        overlaps: of the N true and M predicted cells seen in the maps; ids are positions in the pair, plus 1.
        true_classes: (N,) int64 category ids.
        pred_classes: (M,) int64 category ids.
        pred_scores: (M,) float64.
        true_centroids_xy: (N, 2) float64, px.
        pred_centroids_xy: (M, 2) float64, px.
    """

    overlaps: Overlaps
    true_classes: np.ndarray
    pred_classes: np.ndarray
    pred_scores: np.ndarray
    true_centroids_xy: np.ndarray
    pred_centroids_xy: np.ndarray

    def above(self, score_threshold: float) -> 'PaintedPair':
        """The same as if only predictions with at least this score had been painted."""
        is_kept = self.pred_scores >= score_threshold
        return replace(
            self, overlaps=self.overlaps.of_predictions(is_kept), pred_classes=self.pred_classes[is_kept],
            pred_scores=self.pred_scores[is_kept], pred_centroids_xy=self.pred_centroids_xy[is_kept])


def paint_pair(pair: ImagePair) -> PaintedPair:
    """Paints the two label maps of an image and compares them.

    Predictions are painted by :func:`label_map_by_score`, and true cells likewise as if all had one score: where they
    overlap the smaller one is seen. So a prediction equal to the truth, with equal scores, gives the same map.

    Raises:
        ValueError: an RLE has another size than the image, or is not valid.
    """
    size = pair.height, pair.width
    true_map = label_map_by_score(pair.true_rles, np.zeros(len(pair.true_rles)), size)
    pred_map = label_map_by_score(pair.pred_rles, pair.pred_scores, size)
    overlaps = overlaps_of_label_maps(true_map, pred_map)
    seen = overlaps.pred_ids - 1
    return PaintedPair(
        overlaps, pair.true_classes[overlaps.true_ids - 1], pair.pred_classes[seen], pair.pred_scores[seen],
        centroids_xy(true_map, overlaps.true_ids), centroids_xy(pred_map, overlaps.pred_ids))
