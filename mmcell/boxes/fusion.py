"""Weighted boxes fusion, in pure arrays.

Solovyev, Wang, Gabruseva: Weighted boxes fusion: ensembling boxes from different object detection models. Image and
Vision Computing 107 (2021). Where the paper leaves a choice it is that of the authors' package ensemble-boxes with its
default ``conf_type='avg'``; compared in tests/test_box_fusion.py.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Keeps boxes of score 0 countable in a mean that is weighted by scores.
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class FusedBoxes:
    """M boxes fused from N, best score first.

    Attributes:
        bboxes_xyxy: (M, 4) float64, in the frame of the boxes fused.
        scores: (M,) float64.
        labels: (M,) int64.
        fused_index: (N,) int64, which fused box each box went into; -1: into none, its score is too low.
    """

    bboxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    fused_index: np.ndarray


def fuse_boxes(bboxes_xyxy: np.ndarray, scores: np.ndarray, labels: np.ndarray, sources: np.ndarray,
               weights: np.ndarray, iou_threshold: float = .55, skip_threshold: float = 0.) -> FusedBoxes:
    """Fuses the boxes that several models, or views of an image, predict for the same objects.

    Boxes are taken by falling score times weight. Each goes to the fused box of its class that it overlaps most, where
    that is more than ``iou_threshold``, else it begins a new one. The fused box is the mean of its boxes, weighted by
    score times weight w s. Its score is the mean of w s times min(n, S) / sum(w), where n is the number of its boxes
    and S that of the sources: what one source alone sees loses score.

    The time is that of sorting, plus the pairs of boxes that are near one another.

    Args:
        bboxes_xyxy: (N, 4) finite.
        scores: (N,) from 0 to 1.
        labels: (N,) int64.
        sources: (N,) int64, the model or view that each box is from: 0 to S - 1.
        weights: (S,) positive, how much each source counts.
        iou_threshold: from 0 to 1.
        skip_threshold: boxes with a score below are left out.

    Raises:
        ValueError: a weight is not positive.
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
        found = _cluster(bboxes_xyxy[members], np.maximum(weighted_scores[members], _LEAST_WEIGHT), iou_threshold)
        clusters[members] = found + n_clusters
        n_clusters += found.max() + 1
    return _fuse(bboxes_xyxy, weighted_scores, labels, clusters, n_clusters, weights)


def _fuse(bboxes_xyxy: np.ndarray, weighted_scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray,
          n_clusters: int, weights: np.ndarray) -> FusedBoxes:
    """The fused box of each cluster; ``clusters`` (N,) from 0, -1 for none."""
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
    order = np.argsort(-scores, kind='stable')
    rank = np.empty(n_clusters + 1, np.int64)
    rank[order], rank[-1] = np.arange(n_clusters), -1
    return FusedBoxes(fused[order], scores[order], fused_labels[order], rank[clusters])


def _cluster(bboxes_xyxy: np.ndarray, box_weights: np.ndarray, iou_threshold: float) -> np.ndarray:
    """The cluster (N,) int64 of each box of one class, numbered from 0 as they begin; boxes come best first.

    A grid, with squares of the mean area of a box, tells which fused boxes may overlap a box.
    """
    sizes = (bboxes_xyxy[:, 2:] - bboxes_xyxy[:, :2]).clip(min=0)
    side_px = max(math.sqrt(sizes.prod(axis=1).mean()), 1.)
    in_square: dict[tuple[int, int], set[int]] = defaultdict(set)
    fused: list[list[float]] = []
    weighted_sums: list[list[float]] = []
    clusters = np.empty(len(bboxes_xyxy), np.int64)
    for index, (bbox, weight) in enumerate(zip(bboxes_xyxy.tolist(), box_weights.tolist(), strict=True)):
        near = set().union(*(in_square[square] for square in _squares(bbox, side_px) if square in in_square))
        # Of equal overlaps the first.
        best_iou, best = max(((_iou(bbox, fused[i]), -i) for i in near), default=(0., 0))
        if best_iou > iou_threshold:
            cluster = -best
            sums = [total + weight * side for total, side in zip(weighted_sums[cluster], [*bbox, 1.], strict=True)]
            weighted_sums[cluster] = sums
            fused[cluster] = [total / sums[4] for total in sums[:4]]
        else:
            cluster = len(fused)
            weighted_sums.append([weight * side for side in [*bbox, 1.]])
            fused.append(bbox)
        # A fused box that has moved stays in its old squares, too: that costs comparisons, and changes nothing.
        for square in _squares(fused[cluster], side_px):
            in_square[square].add(cluster)
        clusters[index] = cluster
    return clusters


def _squares(bbox: list[float], side_px: float) -> Iterator[tuple[int, int]]:
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
