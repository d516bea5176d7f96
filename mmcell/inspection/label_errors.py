"""Likely errors among the labels of a data set, found with predictions of models that did not learn from the images.

The ideas are those of confident learning (Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in
dataset labels", JAIR 70, 2021) for wrong classes, and of ObjectLab (Tkachenko, Thyagarajan, Mueller, "ObjectLab:
automated diagnosis of mislabeled images in object detection data", arXiv 2309.00832) for labels that are missing or lie
badly. ObjectLab gives each image a quality; here every cell and every prediction is judged, with masks in place of
boxes. Spurious, merged and split labels are additions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.errors import list_some
from mmcell.evaluation.pairs import Pairs
from mmcell.inspection.label_evidence import (
    HIT_IOU,
    Evidence,
    covered_share,
    expected_support,
    gather_evidence,
    largest,
    pairs_by,
)
from mmcell.predictions.cells import Predictions

WRONG_CLASS, MISSING, SPURIOUS, BADLY_LOCATED, MERGED, SPLIT = KINDS = (
    'wrong class', 'missing', 'spurious', 'badly located', 'merged', 'split')
MIN_SUSPICION = .5
# Predictions that are more improbable than this say nothing about merged and split labels.
_LIKELY = .5
# The least share of a merged label, or of the prediction of a split one, that a part must cover.
_PART = .15
# Predictions that overlap a labelled cell less are about something else.
_NEAR_IOU = .1
# Models of which the labels of an image are hidden agree with these labels less than this: F1 of likely predictions,
# and mean IoU of hits.
_MOST_AGREEMENT, _MOST_IOU = .98, .95
_LEAST_AGREEMENT = .3
# If at least this many predictions are made for an image, and for no image more, a limit may have cut them off.
_LEAST_LIMIT, _ROUND_LIMIT = 10, 50


@dataclass(frozen=True)
class LabelErrors:
    """K likely label errors, the most suspicious first. Each cell and each prediction is named once at most.

    Attributes:
        truth: The images that were checked, with their N labelled cells.
        predictions: The M predicted cells of these images.
        kinds: (K,) str, entries of ``KINDS``.
        suspicions: (K,) float64, from 0 to 1. It puts the errors in order; it is not the share that are errors.
        image_index: (K,) int64, the image of each error in ``truth``.
        cells: (K,) int64, the labelled cell, -1 for a missing label.
        other_cells: (K,) int64, the second cell of a split label, else -1.
        predicted: (K,) int64, the prediction that disagrees, -1 for a spurious label.
        details: K texts about what is seen there, with numbers.
        agreement: The F1 of likely predictions and labels, from 0 to 1.
        notes: What limits the check, in sentences. A note about predictions that are probably not out-of-fold
            predictions begins with 'The predictions agree'.
    """

    truth: GroundTruth
    predictions: Predictions
    kinds: np.ndarray
    suspicions: np.ndarray
    image_index: np.ndarray
    cells: np.ndarray
    other_cells: np.ndarray
    predicted: np.ndarray
    details: list[str]
    agreement: float
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def boxes_xywh(self) -> np.ndarray:
        """(K, 4) float64 in px: the box of the labelled cell, or of the prediction where a label is missing."""
        boxes = np.concatenate([self.truth.boxes_xywh, self.predictions.boxes_xywh])
        return boxes[np.where(self.cells >= 0, self.cells, len(self.truth.rles) + self.predicted)]

    def class_names(self, error: int) -> tuple[str, str]:
        """Returns the name of the class in the file and of the class that is suggested; '' for none."""
        names, cell, predicted = self.truth.class_names, self.cells[error], self.predicted[error]
        return ('' if cell < 0 else names[self.truth.class_index[cell]],
                '' if predicted < 0 else names[self.predictions.class_index[predicted]])


@dataclass(frozen=True)
class _Suspect:
    suspicion: float
    kind: str
    cell: int
    other_cell: int
    predicted: int
    detail: str


def find_label_errors(truth: GroundTruth, predictions: Predictions, is_predicted: np.ndarray | None = None,
                      min_suspicion: float = MIN_SUSPICION) -> LabelErrors:
    """Finds labels that the predictions contradict.

    The kinds of error, and the suspicion of each, with q for the probability that a cell is where a prediction is, and
    the support of a labelled cell for its largest q times min(1, IoU / .5); see
    :func:`mmcell.inspection.label_evidence.gather_evidence`:

    - wrong class: the most probable class c is not the class in the file, and is at least as probable as it is on
      average for cells that have the class c in the file (confident learning, eq. 1 and 2). Suspicion: the difference
      of the two probabilities (the normalised margin of section 3.2 there);
    - missing: a prediction has no label. Suspicion: q times the share of its pixels that no label covers;
    - spurious: a label without support. Suspicion: (1 - support) times the mean support of cells like it;
    - badly located: a label without a hit has a prediction without a hit at an IoU above .1. Suspicion: q (1 - IoU);
    - merged: several likely predictions lie in one label, and fit it better together than any single one.
      Suspicion: the second largest q, times their IoU with the label, times (1 - q) of a prediction that fits as well;
    - split: the same with several labels in one prediction. Suspicion: q, times the IoU of the labels with the
      prediction, times (1 - q) of predictions that confirm the labels one by one.

    Regions that are not annotated cell by cell are not judged, and predictions in them are no missing labels. Where a
    limit has cut off the predictions of an image, no label of it is called spurious.

    Args:
        truth: The labelled cells.
        predictions: Predictions of models that did not learn from these images, with all their scores.
        is_predicted: (I,) bool, the images that the models were shown; None: those with at least one prediction.
        min_suspicion: Errors that are less suspicious are left out.

    Raises:
        ValueError: A mask is not a valid RLE of the size of its image.
    """
    has_any = np.bincount(predictions.image_index, minlength=len(truth.image_ids)) > 0
    is_checked = has_any if is_predicted is None else is_predicted
    notes = _note_unchecked(truth, is_checked)
    pairs = Pairs(truth.of_images(is_checked), predictions.of_images(is_checked))
    evidence = gather_evidence(pairs)
    is_cut = _is_cut(pairs)
    if is_cut.any():
        notes.append(f'{int(is_cut.sum())} of {len(is_cut)} images have as many predictions as the model may give: no '
                     'label of them is called spurious. Raise test_cfg.rcnn.max_per_img')
    suspects = [suspect for find in (_find_wrong_classes, _find_missing, _find_badly_located, _find_merged, _find_split)
                for suspect in find(evidence)] + list(_find_spurious(evidence, is_cut))
    kept = _explain_once([suspect for suspect in suspects if suspect.suspicion >= max(min_suspicion, 1e-9)])
    return _to_errors(kept, evidence, notes + _note_agreement(evidence))


def _find_wrong_classes(evidence: Evidence) -> Iterator[_Suspect]:
    truth, predictions = evidence.pairs.truth, evidence.pairs.predictions
    probability, n_classes = evidence.class_probability, len(truth.class_ids)
    is_judged = evidence.is_hit & ~truth.is_crowd
    if n_classes < 2 or not is_judged.any():
        return
    rows = np.arange(len(probability))
    suggested, given = probability.argmax(axis=1), probability[rows, truth.class_index]
    # The mean probability of a class among the cells that have it in the file; 1 for a class without a cell there.
    counts = np.bincount(truth.class_index[is_judged], minlength=n_classes)
    sums = np.bincount(truth.class_index[is_judged], given[is_judged], minlength=n_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), 1.)
    best = probability[rows, suggested]
    is_wrong = is_judged & (suggested != truth.class_index) & (best >= thresholds[suggested])
    order, bounds = pairs_by(evidence.overlaps.true_index, len(rows))
    for cell in np.flatnonzero(is_wrong).tolist():
        near = order[bounds[cell]:bounds[cell + 1]]
        own = evidence.overlaps.pred_index[near]
        is_of_class = (evidence.overlaps.ious[near] > HIT_IOU) & (predictions.class_index[own] == suggested[cell])
        if not is_of_class.any():
            continue
        predicted = _best_of(own[is_of_class], predictions.scores)
        yield _Suspect(best[cell] - given[cell], WRONG_CLASS, cell, -1, predicted,
                       f'predicted as {truth.class_names[suggested[cell]]} with score '
                       f'{predictions.scores[predicted]:.2f}')


def _find_missing(evidence: Evidence) -> Iterator[_Suspect]:
    predictions, truth = evidence.pairs.predictions, evidence.pairs.truth
    is_free = evidence.is_best & ~evidence.is_in_crowd & ~_hits_any(evidence)
    suspicions = evidence.place_probability * (1 - covered_share(evidence.overlaps))
    for predicted in np.flatnonzero(is_free).tolist():
        yield _Suspect(suspicions[predicted], MISSING, -1, -1, predicted,
                       f'{truth.class_names[predictions.class_index[predicted]]} predicted with score '
                       f'{predictions.scores[predicted]:.2f}, no label there')


def _find_spurious(evidence: Evidence, is_cut: np.ndarray) -> Iterator[_Suspect]:
    truth, expected = evidence.pairs.truth, expected_support(evidence)
    suspicions = expected * (1 - evidence.support)
    is_judged = ~truth.is_crowd & ~is_cut[truth.image_index]
    for cell in np.flatnonzero(is_judged).tolist():
        yield _Suspect(suspicions[cell], SPURIOUS, cell, -1, -1,
                       f'support {evidence.support[cell]:.2f}, for cells like it {expected[cell]:.2f}')


def _find_badly_located(evidence: Evidence) -> Iterator[_Suspect]:
    truth, overlaps = evidence.pairs.truth, evidence.overlaps
    is_free = evidence.is_best & ~_hits_any(evidence)
    is_near = ((overlaps.ious > _NEAR_IOU) & is_free[overlaps.pred_index]
               & ~evidence.is_hit[overlaps.true_index] & ~truth.is_crowd[overlaps.true_index])
    for pair in np.flatnonzero(is_near).tolist():
        cell, predicted, iou = overlaps.true_index[pair], overlaps.pred_index[pair], overlaps.ious[pair]
        yield _Suspect(evidence.place_probability[predicted] * (1 - iou), BADLY_LOCATED, int(cell), -1, int(predicted),
                       f'IoU {iou:.2f} with a prediction of score {evidence.pairs.predictions.scores[predicted]:.2f}')


def _find_merged(evidence: Evidence) -> Iterator[_Suspect]:
    overlaps, truth, probability = evidence.overlaps, evidence.pairs.truth, evidence.place_probability
    true_px, pred_px = overlaps.true_areas_px[overlaps.true_index], overlaps.pred_areas_px[overlaps.pred_index]
    is_part = (_is_likely(evidence)[overlaps.pred_index] & ~truth.is_crowd[overlaps.true_index]
               & (2 * overlaps.intersections_px > pred_px) & (overlaps.intersections_px >= _PART * true_px))
    for cell, parts in _groups_of_parts(overlaps.true_index, is_part):
        own = overlaps.pred_index[parts]
        shared_px = overlaps.intersections_px[parts].sum()
        iou = shared_px / (overlaps.true_areas_px[cell] + overlaps.pred_areas_px[own].sum() - shared_px)
        if iou <= overlaps.ious[parts].max():
            continue
        fits = (overlaps.true_index == cell) & (overlaps.ious >= iou) & ~np.isin(overlaps.pred_index, own)
        whole = probability[overlaps.pred_index[fits]].max(initial=0)
        second = np.sort(probability[own])[-2]
        yield _Suspect(second * min(iou, 1) * (1 - whole), MERGED, cell, -1, _best_of(own, probability),
                       f'{len(own)} predictions in one label, IoU together {iou:.2f}')


def _find_split(evidence: Evidence) -> Iterator[_Suspect]:
    overlaps, truth, probability = evidence.overlaps, evidence.pairs.truth, evidence.place_probability
    true_px, pred_px = overlaps.true_areas_px[overlaps.true_index], overlaps.pred_areas_px[overlaps.pred_index]
    is_part = (_is_likely(evidence)[overlaps.pred_index] & ~truth.is_crowd[overlaps.true_index]
               & (2 * overlaps.intersections_px > true_px) & (overlaps.intersections_px >= _PART * pred_px))
    for predicted, parts in _groups_of_parts(overlaps.pred_index, is_part):
        # The largest parts first; equal ones in the order of the cells.
        parts = parts[np.argsort(-overlaps.intersections_px[parts], kind='stable')]
        own = overlaps.true_index[parts]
        shared_px = overlaps.intersections_px[parts].sum()
        iou = shared_px / (overlaps.pred_areas_px[predicted] + overlaps.true_areas_px[own].sum() - shared_px)
        if iou <= overlaps.ious[parts].max():
            continue
        confirmed = [probability[overlaps.pred_index[
            (overlaps.true_index == cell) & (overlaps.ious > HIT_IOU) & (overlaps.pred_index != predicted)]].max(
                initial=0) for cell in own[:2]]
        yield _Suspect(probability[predicted] * min(iou, 1) * (1 - min(confirmed)), SPLIT, int(own[0]), int(own[1]),
                       predicted, f'{len(own)} labels in one prediction, IoU together {iou:.2f}')


def _is_likely(evidence: Evidence) -> np.ndarray:
    return evidence.is_best & (evidence.place_probability >= _LIKELY)


def _hits_any(evidence: Evidence) -> np.ndarray:
    """Returns (M,) bool, whether a prediction has an IoU above .5 with a labelled cell of any class."""
    overlaps = evidence.overlaps
    return largest(overlaps.ious, overlaps.pred_index, len(evidence.is_best)) > HIT_IOU


def _groups_of_parts(index: np.ndarray, is_part: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields each index (P,) that has two parts or more, with its pairs."""
    pairs = np.flatnonzero(is_part)
    order, bounds = pairs_by(index[pairs], int(index.max(initial=-1)) + 1)
    for owner in np.flatnonzero(np.diff(bounds) > 1).tolist():
        yield owner, pairs[order[bounds[owner]:bounds[owner + 1]]]


def _best_of(predicted: np.ndarray, values: np.ndarray) -> int:
    return int(predicted[values[predicted].argmax()])


def _explain_once(suspects: list[_Suspect]) -> list[_Suspect]:
    """Returns the suspects in order; of those that share a labelled cell or a prediction, only the first."""
    suspects = sorted(suspects, key=lambda suspect: (
        -suspect.suspicion, KINDS.index(suspect.kind), suspect.cell, suspect.detail))
    cells, predicted, kept = {-1}, {-1}, []
    for suspect in suspects:
        own = {suspect.cell, suspect.other_cell} - {-1}
        if own & cells or (suspect.predicted != -1 and suspect.predicted in predicted):
            continue
        cells |= own
        predicted.add(suspect.predicted)
        kept.append(suspect)
    return kept


def _to_errors(suspects: list[_Suspect], evidence: Evidence, notes: list[str]) -> LabelErrors:
    truth, predictions = evidence.pairs.truth, evidence.pairs.predictions
    cells, others, predicted = (np.array([getattr(suspect, name) for suspect in suspects], np.int64)
                                for name in ('cell', 'other_cell', 'predicted'))
    images = np.concatenate([truth.image_index, predictions.image_index])
    return LabelErrors(
        truth, predictions, np.array([suspect.kind for suspect in suspects], str),
        np.array([suspect.suspicion for suspect in suspects], float),
        images[np.where(cells >= 0, cells, len(truth.rles) + predicted)], cells, others, predicted,
        [suspect.detail for suspect in suspects], evidence.agreement, tuple(notes))


def _is_cut(pairs: Pairs) -> np.ndarray:
    """Returns (I,) bool, whether a limit seems to have cut off the predictions of an image."""
    counts = np.bincount(pairs.predictions.image_index, minlength=len(pairs.truth.image_ids))
    limit = counts.max(initial=0)
    is_most = counts == limit
    return is_most & bool(limit >= _LEAST_LIMIT and (is_most.sum() > 1 or limit % _ROUND_LIMIT == 0))


def _note_unchecked(truth: GroundTruth, is_checked: np.ndarray) -> list[str]:
    if is_checked.all():
        return []
    names = [truth.file_names[image] for image in np.flatnonzero(~is_checked)]
    return [f'{len(names)} of {len(is_checked)} images have no prediction, and were not checked: '
            + list_some(names, ', ', 3)]


def _note_agreement(evidence: Evidence) -> list[str]:
    overlaps, is_crowd = evidence.overlaps, evidence.pairs.truth.is_crowd
    if not (~is_crowd).any():
        return []
    hits = (overlaps.ious > HIT_IOU) & evidence.is_best[overlaps.pred_index]
    mean_iou = float(overlaps.ious[hits].mean()) if hits.any() else 0.
    if evidence.agreement > _MOST_AGREEMENT or mean_iou > _MOST_IOU:
        return [f'The predictions agree with the labels almost perfectly (F1 {evidence.agreement:.3f}, mean IoU of '
                f'hits {mean_iou:.3f}), as those of a model that has learnt from these images do. Errors in labels '
                'that a model has learnt cannot be seen: predict every image with a model that has not seen it '
                '(tools/study.py --folds)']
    if evidence.agreement < _LEAST_AGREEMENT:
        return [f'The predictions and the labels have little in common (F1 {evidence.agreement:.3f}): either the model '
                'is too weak to judge labels, or the labels lie beside the cells']
    return []
