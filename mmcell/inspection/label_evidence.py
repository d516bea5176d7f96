"""What out-of-fold predictions say about labelled cells, as probabilities that are fitted to the data set itself."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import expit, logit

from mmcell.cells.measurements import moments_of
from mmcell.evaluation.overlaps import Overlaps
from mmcell.evaluation.pairs import Pairs
from mmcell.masks.runs import intersections_px

HIT_IOU = .5
# A prediction is at the place of a labelled cell from this IoU on. It is lower than that of a hit, so that labels with
# a wrong outline do not make the predictions that show the right one less probable.
_PLACE_IOU = .3
# Two predictions show the same thing if their IoU reaches the first value, or if the second share of the smaller lies
# in the larger.
_SAME_IOU, _SAME_INSIDE = .5, .7
# Scores are held inside these limits, because the logit of 0 and of 1 is infinite.
_SCORE_LIMITS = (.01, .999)
# A class with fewer predictions that are right, or that are wrong, is calibrated together with the other classes.
_MIN_EXAMPLES = 20
# The number of cells that a cell is compared with.
_N_SIMILAR = 50


@dataclass(frozen=True)
class Evidence:
    """The evidence of M predictions about N labelled cells of C classes.

    Attributes:
        pairs: The labelled and the predicted cells.
        is_best: (M,) bool, whether a prediction has the best score of all that show the same thing.
        is_in_crowd: (M,) bool, whether most of a prediction lies in regions that are not annotated cell by cell.
        place_probability: (M,) float64, the probability that a labelled cell of any class has an IoU above .3 with the
            prediction.
        class_probability: (N, C) float64, the probability of each class of each labelled cell, with the sum 1. It
            means nothing for cells that no prediction hits.
        support: (N,) float64, from 0 to 1, how well the predictions show that there is a cell.
    """

    pairs: Pairs
    is_best: np.ndarray
    is_in_crowd: np.ndarray
    place_probability: np.ndarray
    class_probability: np.ndarray
    support: np.ndarray

    @property
    def overlaps(self) -> Overlaps:
        """The overlaps of labelled and predicted cells."""
        return self.pairs.overlaps

    @cached_property
    def is_hit(self) -> np.ndarray:
        """(N,) bool, whether a prediction of any score and class has an IoU above .5 with a labelled cell."""
        return largest(self.overlaps.ious, self.overlaps.true_index, len(self.support)) > HIT_IOU

    @cached_property
    def agreement(self) -> float:
        """The F1 of the predictions that are more probable than not: share of cells found with the class in the file.

        0 if there are neither labelled nor predicted cells.
        """
        truth, predictions, overlaps = self.pairs.truth, self.pairs.predictions, self.overlaps
        is_likely = self.is_best & ~self.is_in_crowd & (self.place_probability > .5)
        is_right = ((overlaps.ious > HIT_IOU) & is_likely[overlaps.pred_index]
                    & (truth.class_index[overlaps.true_index] == predictions.class_index[overlaps.pred_index]))
        n_both = len(np.unique(overlaps.true_index[is_right]))
        return 2 * n_both / max(int(is_likely.sum()) + int((~truth.is_crowd).sum()), 1)


def gather_evidence(pairs: Pairs) -> Evidence:
    """Weighs predictions by how often predictions of their class and score are right in this data set.

    Scores become probabilities by a logistic function of their logit (Platt, "Probabilistic outputs for support vector
    machines", 1999, with the targets of section 2.2), one per class. The probabilities of the classes of a cell are
    those of one function per class against all others, divided by their sum (Zadrozny and Elkan, "Transforming
    classifier scores into accurate multiclass probability estimates", KDD 2002, section 5).

    Args:
        pairs: The labelled cells, and predictions of models that did not learn from their images.
    """
    truth, predictions, overlaps = pairs.truth, pairs.predictions, pairs.overlaps
    is_best = find_best(pairs)
    in_crowd_px = _sum_per_prediction(overlaps, truth.is_crowd[overlaps.true_index])
    is_in_crowd = 2 * in_crowd_px > overlaps.pred_areas_px
    cell_ious = np.where(truth.is_crowd[overlaps.true_index], 0., overlaps.ious)
    is_right = largest(cell_ious, overlaps.pred_index, len(predictions)) > _PLACE_IOU
    place_probability = _calibrate_by_class(
        predictions.scores, predictions.class_index, is_right, is_best & ~is_in_crowd)
    support = largest(place_probability[overlaps.pred_index] * np.minimum(1, overlaps.ious / HIT_IOU),
                      overlaps.true_index, len(truth.rles))
    return Evidence(pairs, is_best, is_in_crowd, place_probability, _class_probabilities(pairs), support)


def find_best(pairs: Pairs) -> np.ndarray:
    """Returns (M,) bool, whether no prediction with a better score shows the same thing, whatever its class.

    Equal scores are put in order by class and box, so that the order of the predictions does not matter.
    """
    predictions, masks = pairs.predictions, pairs.masks[1]
    order = np.lexsort((*predictions.boxes_xywh.T, predictions.class_index, -predictions.scores))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first, second, shared_px = intersections_px(masks, masks)
    areas_px = masks.areas_px
    smaller_px = np.minimum(areas_px[first], areas_px[second])
    is_same = ((shared_px >= _SAME_IOU * (areas_px[first] + areas_px[second] - shared_px))
               | (shared_px >= _SAME_INSIDE * smaller_px)) & (rank[first] < rank[second])
    better, worse = first[is_same], second[is_same]
    is_best = areas_px > 0
    # By the time the pairs of a prediction come, all better predictions have decided whether it stays.
    by_rank = np.argsort(rank[better], kind='stable')
    for kept, dropped in zip(better[by_rank].tolist(), worse[by_rank].tolist(), strict=True):
        if is_best[kept]:
            is_best[dropped] = False
    return is_best


def expected_support(evidence: Evidence) -> np.ndarray:
    """Returns (N,) float64, the mean support of the other cells that are most like each labelled cell.

    These are cells of the same class with the nearest size and elongation. Cells that touch the edge of their image are
    compared with one another, because models find them less often. If there is no cell like it, the value is 0: nothing
    is known about its kind.
    """
    truth, support = evidence.pairs.truth, evidence.support
    is_used = ~truth.is_crowd & (evidence.overlaps.true_areas_px > 0)
    features = np.zeros((len(support), 2))
    masks = evidence.pairs.masks[0].take(np.flatnonzero(is_used))
    *_, large, small = moments_of(masks)
    # A pixel has a variance of 1 / 12 in itself: cells of one row are long, but not infinitely long.
    features[is_used] = np.log(np.stack([masks.areas_px, np.sqrt((large + 1 / 12) / (small + 1 / 12))], axis=1))
    ends_xy = truth.boxes_xywh[:, :2] + truth.boxes_xywh[:, 2:]
    touches_edge = ((truth.boxes_xywh[:, :2] < 1) | (ends_xy > truth.sizes[truth.image_index, ::-1] - 1)).any(axis=1)
    groups = 2 * truth.class_index + touches_edge
    expected = np.zeros(len(support))
    for group in np.unique(groups[is_used]):
        cells = np.flatnonzero((groups == group) & is_used)
        expected[cells] = _mean_of_nearest(features[cells], support[cells])
    return expected


def _mean_of_nearest(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns (n,) the mean of the values of the nearest others, by features (n, 2) that are scaled to equal spread."""
    if len(values) < 2:
        return np.zeros(len(values))
    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1)
    _, nearest = cKDTree(scaled).query(scaled, k=min(_N_SIMILAR + 1, len(values)))
    is_other = nearest != np.arange(len(values))[:, None]
    return np.where(is_other, values[nearest], 0).sum(axis=1) / is_other.sum(axis=1)


def largest(values: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    """Returns (n,) float64, the largest of the values (P,) of each index (P,), 0 if there is none."""
    result = np.zeros(n)
    np.maximum.at(result, index, values)
    return result


def calibrate(scores: np.ndarray, is_right: np.ndarray, new_scores: np.ndarray) -> np.ndarray:
    """Returns the probabilities (K,) of new scores (K,), after a fit to scores (L,) that are right or wrong (L,).

    The probability never falls while the score rises.
    """
    n_right, n_wrong = int(is_right.sum()), int((~is_right).sum())
    targets = np.where(is_right, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    features, new_features = (logit(np.clip(each, *_SCORE_LIMITS)) for each in (scores, new_scores))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values = parameters[0] * features + parameters[1]
        errors = expit(values) - targets
        return (float(np.mean(np.logaddexp(0, values) - targets * values)),
                np.array([np.mean(errors * features), np.mean(errors)]))

    if not len(scores):
        return np.asarray(new_scores, float)
    slope, offset = minimize(loss, [1., 0.], jac=True, method='L-BFGS-B', bounds=[(0, None), (None, None)]).x
    return expit(slope * new_features + offset)


def _calibrate_by_class(scores: np.ndarray, class_index: np.ndarray, is_right: np.ndarray,
                        is_used: np.ndarray) -> np.ndarray:
    """Calibrates scores (M,) by class, with the predictions that are used for it."""
    probability = calibrate(scores[is_used], is_right[is_used], scores)
    for label in np.unique(class_index):
        own = class_index == label
        used = own & is_used
        if min(is_right[used].sum(), (~is_right[used]).sum()) >= _MIN_EXAMPLES:
            probability[own] = calibrate(scores[used], is_right[used], scores[own])
    return probability


def _class_probabilities(pairs: Pairs) -> np.ndarray:
    truth, predictions, overlaps = pairs.truth, pairs.predictions, pairs.overlaps
    n_cells, n_classes = len(truth.rles), len(truth.class_ids)
    hits = overlaps.ious > HIT_IOU
    # The best score of each class for each cell: place n * C + c of one flat array.
    flat = overlaps.true_index[hits] * n_classes + predictions.class_index[overlaps.pred_index[hits]]
    scores = largest(predictions.scores[overlaps.pred_index[hits]], flat, n_cells * n_classes)
    scores = scores.reshape(n_cells, n_classes)
    is_used = scores.any(axis=1) & ~truth.is_crowd
    one_hot = truth.class_index[:, None] == np.arange(n_classes)
    pooled = calibrate(scores[is_used].ravel(), one_hot[is_used].ravel(), scores.ravel()).reshape(scores.shape)
    probability = np.empty_like(scores)
    for label in range(n_classes):
        right, own_scores = one_hot[is_used, label], scores[is_used, label]
        is_enough = min(right.sum(), (~right).sum()) >= _MIN_EXAMPLES
        probability[:, label] = calibrate(own_scores, right, scores[:, label]) if is_enough else pooled[:, label]
    return probability / np.maximum(probability.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def _sum_per_prediction(overlaps: Overlaps, is_counted: np.ndarray) -> np.ndarray:
    """Returns (M,) float64, the px that each prediction shares with the labelled cells of the pairs that count."""
    return np.bincount(overlaps.pred_index[is_counted], overlaps.intersections_px[is_counted],
                       minlength=len(overlaps.pred_areas_px))


def covered_share(overlaps: Overlaps) -> np.ndarray:
    """Returns (M,) float64, the share of each prediction that labelled cells cover; 1 for a prediction without pixels.

    Where labelled cells overlap, a pixel counts once for each, so that the share may be too high, but not above 1.
    """
    shared_px = _sum_per_prediction(overlaps, np.ones(len(overlaps.pred_index), bool))
    areas_px = overlaps.pred_areas_px
    return np.where(areas_px > 0, np.minimum(shared_px / np.maximum(areas_px, 1), 1), 1.)
