"""Suspects: labels, and places without a label, that the predictions contradict; one function per kind of error."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmcell.inspection.label_evidence import HIT_IOU, Evidence, covered_share, expected_support, largest
from mmcell.ragged import split_by

WRONG_CLASS, MISSING, SPURIOUS, BADLY_LOCATED, MERGED, SPLIT = KINDS = (
    'wrong class', 'missing', 'spurious', 'badly located', 'merged', 'split')
# Predictions with a lower probability say nothing about merged and split labels.
_LIKELY = .3
# The least share of a merged label, or of the prediction of a split one, that a part must cover.
_PART = .15
# A prediction that overlaps a label less is about something else.
_NEAR_IOU = .1


@dataclass(frozen=True)
class Suspect:
    """One likely label error.

    Attributes:
        suspicion: From 0 to 1.
        kind: An entry of ``KINDS``.
        cell: The index of the labelled cell, -1 for a missing label.
        other_cell: The index of the second cell of a split label, else -1.
        predicted: The index of the prediction that disagrees, -1 for a spurious label.
        detail: What is seen there, with numbers.
    """

    suspicion: float
    kind: str
    cell: int
    other_cell: int
    predicted: int
    detail: str


def find_wrong_classes(evidence: Evidence, least: float) -> Iterator[Suspect]:
    """Yields labels with another class than the predictions that hit them.

    Suspicion: the probability of the most probable class, minus that of the class in the file (the normalised margin of
    confident learning, Northcutt et al. 2021, section 3.2). The threshold per class by which confident learning selects
    candidates (eq. 2 there) is not used: the probabilities are calibrated, and with it half of the cells of a class
    could never be candidates.

    Args:
        evidence: What the predictions say about the labels.
        least: The least suspicion of what is yielded.
    """
    truth, predictions, overlaps = evidence.pairs.truth, evidence.pairs.predictions, evidence.overlaps
    probability = evidence.class_probability
    if not probability.size:
        return
    rows, suggested = np.arange(len(probability)), probability.argmax(axis=1)
    suspicions = probability[rows, suggested] - probability[rows, truth.class_index]
    is_wrong = evidence.is_hit & ~truth.is_crowd & (suggested != truth.class_index) & (suspicions >= least)
    for cell in np.flatnonzero(is_wrong).tolist():
        pairs = _pairs_of_cell(evidence, cell)
        hits = overlaps.pred_index[pairs][overlaps.ious[pairs] > HIT_IOU]
        hits = hits[predictions.class_index[hits] == suggested[cell]]
        if len(hits):
            predicted = _best_of(hits, predictions.scores)
            yield Suspect(suspicions[cell], WRONG_CLASS, cell, -1, predicted,
                          f'predicted as {truth.class_names[suggested[cell]]} with score '
                          f'{predictions.scores[predicted]:.2f}')


def find_missing(evidence: Evidence, least: float) -> Iterator[Suspect]:
    """Yields predictions without a label (ObjectLab's overlooked cells).

    Suspicion: the probability of the place, times the share of the prediction that no label covers.
    """
    predictions, truth = evidence.pairs.predictions, evidence.pairs.truth
    suspicions = evidence.place_probability * (1 - covered_share(evidence.overlaps))
    is_missing = evidence.is_best & ~evidence.is_in_crowd & ~_hits_any(evidence) & (suspicions >= least)
    for predicted in np.flatnonzero(is_missing).tolist():
        yield Suspect(suspicions[predicted], MISSING, -1, -1, predicted,
                      f'{truth.class_names[predictions.class_index[predicted]]} predicted with score '
                      f'{predictions.scores[predicted]:.2f}, no label there')


def find_spurious(evidence: Evidence, least: float, is_cut: np.ndarray) -> Iterator[Suspect]:
    """Yields labels that the predictions do not support, although they support labels like them.

    Suspicion: the mean support of labels like it, times 1 - its own support.

    Args:
        evidence: What the predictions say about the labels.
        least: The least suspicion of what is yielded.
        is_cut: (I,) bool, the images of which predictions may have been cut off by a limit: nothing is known about the
            labels there.
    """
    truth, expected = evidence.pairs.truth, expected_support(evidence)
    suspicions = expected * (1 - evidence.support)
    is_spurious = ~truth.is_crowd & ~is_cut[truth.image_index] & (suspicions >= least)
    for cell in np.flatnonzero(is_spurious).tolist():
        yield Suspect(suspicions[cell], SPURIOUS, cell, -1, -1,
                      f'support {evidence.support[cell]:.2f}, for cells like it {expected[cell]:.2f}')


def find_badly_located(evidence: Evidence, least: float) -> Iterator[Suspect]:
    """Yields labels that no prediction hits, beside a prediction that hits no label, at an IoU above .1.

    Suspicion: the probability of the place, times 1 - IoU, times the share of the prediction that no other label
    covers.
    """
    truth, overlaps = evidence.pairs.truth, evidence.overlaps
    is_free, covered = evidence.is_best & ~_hits_any(evidence), covered_share(overlaps)
    by_others = covered[overlaps.pred_index] - overlaps.intersections_px / overlaps.pred_areas_px[overlaps.pred_index]
    suspicions = (evidence.place_probability[overlaps.pred_index] * (1 - overlaps.ious)
                  * (1 - np.maximum(by_others, 0)))
    is_near = ((overlaps.ious > _NEAR_IOU) & is_free[overlaps.pred_index] & ~evidence.is_hit[overlaps.true_index]
               & ~truth.is_crowd[overlaps.true_index] & (suspicions >= least))
    for pair in np.flatnonzero(is_near).tolist():
        cell, predicted = int(overlaps.true_index[pair]), int(overlaps.pred_index[pair])
        yield Suspect(suspicions[pair], BADLY_LOCATED, cell, -1, predicted,
                      f'IoU {overlaps.ious[pair]:.2f} with a prediction of score '
                      f'{evidence.pairs.predictions.scores[predicted]:.2f}')


def find_merged(evidence: Evidence, least: float) -> Iterator[Suspect]:
    """Yields labels in which several likely predictions lie, which together fit better than any one of them.

    Suspicion: the second largest probability of these predictions, times their IoU with the label, times 1 - the
    probability of a single prediction that fits as well.
    """
    overlaps, probability = evidence.overlaps, evidence.place_probability
    is_inside = 2 * overlaps.intersections_px > overlaps.pred_areas_px[overlaps.pred_index]
    is_part = is_inside & (overlaps.intersections_px >= _PART * overlaps.true_areas_px[overlaps.true_index])
    for parts in _groups_of_parts(evidence, overlaps.true_index, is_part):
        cell, own = int(overlaps.true_index[parts[0]]), overlaps.pred_index[parts]
        iou = _iou_together(overlaps.intersections_px[parts], overlaps.true_areas_px[cell],
                            overlaps.pred_areas_px[own])
        if iou <= overlaps.ious[parts].max():
            continue
        pairs = _pairs_of_cell(evidence, cell)
        fits = overlaps.pred_index[pairs][overlaps.ious[pairs] >= iou]
        whole = probability[fits[~np.isin(fits, own)]].max(initial=0)
        suspicion = np.sort(probability[own])[-2] * iou * (1 - whole)
        if suspicion >= least:
            yield Suspect(suspicion, MERGED, cell, -1, _best_of(own, probability),
                          f'{len(own)} predictions in one label, IoU together {iou:.2f}')


def find_split(evidence: Evidence, least: float) -> Iterator[Suspect]:
    """Yields labels that lie together in one likely prediction, and together fit it better than any one of them.

    Suspicion: the probability of the prediction, times its IoU with the labels, times 1 - the probability that the
    larger two labels are two cells, which is that of other predictions that hit them, the lower of the two.
    """
    overlaps, probability = evidence.overlaps, evidence.place_probability
    is_inside = 2 * overlaps.intersections_px > overlaps.true_areas_px[overlaps.true_index]
    is_part = is_inside & (overlaps.intersections_px >= _PART * overlaps.pred_areas_px[overlaps.pred_index])
    for parts in _groups_of_parts(evidence, overlaps.pred_index, is_part):
        parts = parts[np.argsort(-overlaps.intersections_px[parts], kind='stable')]
        predicted, own = int(overlaps.pred_index[parts[0]]), overlaps.true_index[parts]
        iou = _iou_together(overlaps.intersections_px[parts], overlaps.pred_areas_px[predicted],
                            overlaps.true_areas_px[own])
        if iou <= overlaps.ious[parts].max():
            continue
        confirmed = min(_confirmation(evidence, int(cell), predicted) for cell in own[:2])
        suspicion = probability[predicted] * iou * (1 - confirmed)
        if suspicion >= least:
            yield Suspect(suspicion, SPLIT, int(own[0]), int(own[1]), predicted,
                          f'{len(own)} labels in one prediction, IoU together {iou:.2f}')


def _confirmation(evidence: Evidence, cell: int, without: int) -> float:
    """Returns the largest probability of the predictions, other than one, that hit a cell."""
    pairs = _pairs_of_cell(evidence, cell)
    hits = evidence.overlaps.pred_index[pairs][evidence.overlaps.ious[pairs] > HIT_IOU]
    return evidence.place_probability[hits[hits != without]].max(initial=0)


def _iou_together(shared_px: np.ndarray, whole_px: int, parts_px: np.ndarray) -> float:
    """Returns the IoU of a mask with several others together, which are taken not to overlap."""
    return min(float(shared_px.sum() / max(whole_px + parts_px.sum() - shared_px.sum(), 1)), 1.)


def _groups_of_parts(evidence: Evidence, owners: np.ndarray, is_part: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the pairs of each owner (P,) that has at least two parts, all with likely predictions."""
    overlaps, is_crowd = evidence.overlaps, evidence.pairs.truth.is_crowd
    is_likely = evidence.is_best & (evidence.place_probability >= _LIKELY)
    pairs = np.flatnonzero(is_part & is_likely[overlaps.pred_index] & ~is_crowd[overlaps.true_index])
    return (pairs[group] for group in split_by(owners[pairs]) if len(group) > 1)


def _hits_any(evidence: Evidence) -> np.ndarray:
    """Returns (M,) bool, whether a prediction has an IoU above .5 with a labelled cell of any class."""
    overlaps = evidence.overlaps
    return largest(overlaps.ious, overlaps.pred_index, len(evidence.is_best)) > HIT_IOU


def _pairs_of_cell(evidence: Evidence, cell: int) -> slice:
    return slice(*np.searchsorted(evidence.overlaps.true_index, [cell, cell + 1]).tolist())


def _best_of(predicted: np.ndarray, values: np.ndarray) -> int:
    return int(predicted[values[predicted].argmax()])
