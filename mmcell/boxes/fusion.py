"""Weighted boxes fusion: the boxes of several models or views are averaged instead of suppressed.

Source: Solovyev, Wang, Gabruseva, "Weighted boxes fusion: ensembling boxes from different object detection models",
Image and Vision Computing 107 (2021). Where the paper leaves a choice, this file follows the authors' package
ensemble-boxes with its default ``conf_type='avg'``; tests/boxes/test_box_fusion.py compares the results.

Example: model 0 has weight 1 and predicts the box (0, 0, 10, 10) with score .8; model 1 has weight 3 and predicts
(2, 0, 12, 10) with score .4. Score times weight is .8 and 1.2. The IoU is 80 / 120 = .67, so that the boxes are fused:
x1 = (.8 * 0 + 1.2 * 2) / (.8 + 1.2) = 1.2, and x2 = 11.2. The score is the mean of .8 and 1.2, times min(2 boxes,
2 models), divided by the sum of the weights: 1 * 2 / 4 = .5.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Smallest weight of a box in a mean that is weighted by scores: boxes of score 0 would otherwise lead to 0 / 0.
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class FusedBoxes:
    """The M boxes that N boxes were fused into, best score first.

    Attributes:
        bboxes_xyxy: Fused boxes (M, 4) float64, in the frame of the boxes that were fused.
        scores: Scores (M,) float64 of the fused boxes.
        labels: Classes (M,) int64 of the fused boxes.
        fused_index: Index (N,) int64 of the fused box that each original box went into; -1 for boxes that were left
            out because their score is below ``skip_threshold``.
    """

    bboxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    fused_index: np.ndarray


def fuse_boxes(bboxes_xyxy: np.ndarray, scores: np.ndarray, labels: np.ndarray, sources: np.ndarray,
               weights: np.ndarray, iou_threshold: float = .55, skip_threshold: float = 0.) -> FusedBoxes:
    """Fuses the boxes that several models, or views of an image, predict for the same objects.

    Boxes are taken in descending order of score times weight. Each box joins the fused box of its class with which it
    has the greatest IoU, if this IoU is above ``iou_threshold``; otherwise it starts a new fused box. The fused box is
    the mean of its boxes, weighted by w s, the weight of the source times the score. Its score is the mean of w s times
    min(n, S) / sum(w), where n is the number of its boxes and S is the number of sources. A cell that only one of
    several sources has predicted therefore loses score.

    Only boxes that are close to each other are compared, so that the time grows with the number of close pairs.

    Args:
        bboxes_xyxy: Boxes (N, 4) with finite coordinates.
        scores: Scores (N,) of the boxes, from 0 to 1.
        labels: Classes (N,) int64 of the boxes.
        sources: Index (N,) int64 of the model or view that predicted each box, from 0 to S - 1.
        weights: Positive weight (S,) of each source.
        iou_threshold: IoU from 0 to 1 above which a box joins a fused box.
        skip_threshold: Boxes with a score (before the multiplication by the weight) below this value are left out.

    Returns:
        The fused boxes, best score first.

    Raises:
        ValueError: A weight is not positive.
    """
    weights = np.asarray(weights, np.float64)
    if not (weights > 0).all():
        raise ValueError(f'weights must be positive, got {weights.tolist()}')
    bboxes_xyxy, scores = np.asarray(bboxes_xyxy, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)
    labels = np.asarray(labels, np.int64)
    weighted_scores = scores * weights[sources]
    order = np.argsort(-weighted_scores, kind='stable')
    order = order[scores[order] >= skip_threshold]
    clusters = np.full(len(scores), -1)
    n_clusters = 0
    for label in np.unique(labels[order]):
        members = order[labels[order] == label]
        # Clusters of one class are numbered from 0 and follow the clusters of the classes before.
        own_clusters = _cluster(bboxes_xyxy[members], np.maximum(weighted_scores[members], _LEAST_WEIGHT),
                                iou_threshold)
        clusters[members] = own_clusters + n_clusters
        n_clusters += own_clusters.max() + 1
    return _fuse(bboxes_xyxy, weighted_scores, labels, clusters, n_clusters, weights)


def _fuse(bboxes_xyxy: np.ndarray, weighted_scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray,
          n_clusters: int, weights: np.ndarray) -> FusedBoxes:
    """Returns the fused box of each cluster; ``clusters`` (N,) are the clusters of the boxes, -1 for no cluster."""
    # Example of sums per cluster: np.bincount([0, 0, 1], [.8, 1.2, .5]) = [2.0, .5] adds the weights of the boxes of
    # cluster 0 and of cluster 1. The same call with weight times x1 gives the numerators of the mean x1.
    used = clusters >= 0
    members, box_weights = clusters[used], np.maximum(weighted_scores[used], _LEAST_WEIGHT)
    n_boxes = np.bincount(members, minlength=n_clusters)
    totals = np.bincount(members, box_weights, n_clusters)
    fused = np.stack([np.bincount(members, box_weights * side, n_clusters) / totals
                      for side in bboxes_xyxy[used].T], axis=1)
    scores = np.bincount(members, weighted_scores[used], n_clusters) / n_boxes
    scores *= np.minimum(n_boxes, len(weights)) / weights.sum()
    fused_labels = np.zeros(n_clusters, np.int64)
    fused_labels[members] = labels[used]
    # Clusters are sorted by score. If their scores are [.3, .9, .5], order = [1, 2, 0] and rank = [2, 0, 1, -1]:
    # cluster 0 becomes fused box 2. The index -1 of boxes without a cluster points to the last entry, which is -1.
    order = np.argsort(-scores, kind='stable')
    rank = np.empty(n_clusters + 1, np.int64)
    rank[order], rank[-1] = np.arange(n_clusters), -1
    return FusedBoxes(fused[order], scores[order], fused_labels[order], rank[clusters])


def _cluster(bboxes_xyxy: np.ndarray, box_weights: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Returns the cluster (N,) int64 of each box of one class, numbered from 0 in the order in which they start.

    The boxes must be sorted, best first. The plane is divided into squares, each with the mean area of a box. Only
    fused boxes that touch a square that a box touches are compared with the box.
    """
    # Example with three 10x10 boxes, hence squares of 10 px: (0, 0, 10, 10) starts cluster 0, which is entered in the
    # squares (0, 0), (1, 0), (0, 1) and (1, 1). (2, 0, 12, 10) lies in the same squares, is compared with cluster 0
    # only, and joins it. (50, 50, 60, 60) lies in the squares (5, 5) to (6, 6), in which no cluster is entered, and
    # starts cluster 1 without any comparison. weighted_sums holds, per cluster, the sum of weight * (x1, y1, x2, y2, 1)
    # over its boxes.
    sizes = (bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]).clip(min=0)
    side_px = max(math.sqrt(sizes.prod(axis=1).mean()), 1.)
    clusters_in_square: dict[tuple[int, int], set[int]] = defaultdict(set)
    fused: list[list[float]] = []
    weighted_sums: list[list[float]] = []
    clusters = np.empty(len(bboxes_xyxy), np.int64)
    for index, (bbox, weight) in enumerate(zip(bboxes_xyxy.tolist(), box_weights.tolist(), strict=True)):
        near = set().union(*(clusters_in_square[square] for square in _squares(bbox, side_px)
                             if square in clusters_in_square))
        # The number of the cluster is negated so that, of equal IoUs, the maximum is the cluster that started first.
        best_iou, negative_cluster = max(((_iou(bbox, fused[i]), -i) for i in near), default=(0., 0))
        if best_iou > iou_threshold:
            cluster = -negative_cluster
            sums = [total + weight * side for total, side in zip(weighted_sums[cluster], [*bbox, 1.], strict=True)]
            weighted_sums[cluster] = sums
            fused[cluster] = [total / sums[4] for total in sums[:4]]
        else:
            cluster = len(fused)
            weighted_sums.append([weight * side for side in [*bbox, 1.]])
            fused.append(bbox)
        # A fused box that has moved stays entered in its old squares as well: this costs comparisons, but the result is
        # the same.
        for square in _squares(fused[cluster], side_px):
            clusters_in_square[square].add(cluster)
        clusters[index] = cluster
    return clusters


def _squares(bbox: list[float], side_px: float) -> Iterator[tuple[int, int]]:
    """Yields column and row of all squares of the grid that a box touches."""
    x_first, y_first, x_last, y_last = (math.floor(side / side_px) for side in bbox)
    return ((x, y) for x in range(x_first, x_last + 1) for y in range(y_first, y_last + 1))


def _iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (areas[0] + areas[1] - both)
