"""Likely errors among the labels of a data set, found with predictions of models that did not learn from the images.

The ideas are those of confident learning (Northcutt, Jiang, Chuang, "Confident learning: estimating uncertainty in
dataset labels", JAIR 70, 2021) for wrong classes, and of ObjectLab (Tkachenko, Thyagarajan, Mueller, "ObjectLab:
automated diagnosis of mislabeled images in object detection data", arXiv 2309.00832) for labels that are missing or lie
badly. ObjectLab gives each image a quality; here each cell and each prediction is judged, with masks in place of boxes
and with calibrated probabilities in place of scores. Spurious, merged and split labels are additions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.errors import list_some
from mmcell.evaluation.pairs import Pairs
from mmcell.inspection.findings import Finding, Place
from mmcell.inspection.label_evidence import HIT_IOU, Evidence, gather_evidence
from mmcell.inspection.label_suspects import (
    KINDS,
    Suspect,
    find_badly_located,
    find_merged,
    find_missing,
    find_split,
    find_spurious,
    find_wrong_classes,
)
from mmcell.predictions.cells import Predictions

MIN_SUSPICION = .5
# Where cells are easy, models that have not seen the images may reach this F1 or this mean IoU of hits, hardly both.
# Predictions that reach the second IoU are copies. Below the last F1, the model or the labels are of no use.
_MOST_AGREEMENT, _MOST_IOU, _COPIED_IOU, _LEAST_AGREEMENT = .98, .85, .95, .3
# Images with the most predictions of all are taken to be at the model's limit if their number is a multiple of the
# first value, or if there are as many of them as the second value says.
_ROUND_LIMIT, _MANY_AT_LIMIT = 50, 3


@dataclass(frozen=True)
class LabelErrors:
    """K likely label errors, the most suspicious first. Each labelled cell and each prediction is named once at most.

    Attributes:
        truth: The images that were checked, with their N labelled cells.
        predictions: The M predicted cells of these images.
        kinds: (K,) str, entries of ``KINDS``.
        suspicions: (K,) float64, from 0 to 1. They put the errors in order; they are no probabilities.
        image_index: (K,) int64, the place of the image of each error in ``truth``.
        cells: (K,) int64, the labelled cell, -1 for a missing label.
        other_cells: (K,) int64, the second cell of a split label, else -1.
        predicted: (K,) int64, the prediction that disagrees, -1 for a spurious label.
        details: K texts about what is seen there, with numbers.
        agreement: The F1 of likely predictions and labels, from 0 to 1.
        remarks: What limits the check.
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
    remarks: tuple[Finding, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def boxes_xywh(self) -> np.ndarray:
        """(K, 4) float64 in px: the box of the labelled cell, or of the prediction where a label is missing."""
        boxes = np.concatenate([self.truth.boxes_xywh, self.predictions.boxes_xywh])
        return boxes[np.where(self.cells >= 0, self.cells, len(self.truth.rles) + self.predicted)]

    def class_names(self, error: int) -> tuple[str, str]:
        """Returns the name of the class in the file and of the predicted class of an error; '' where there is none."""
        names, cell, predicted = self.truth.class_names, self.cells[error], self.predicted[error]
        return ('' if cell < 0 else names[self.truth.class_index[cell]],
                '' if predicted < 0 else names[self.predictions.class_index[predicted]])

    def place(self, error: int) -> Place:
        """Returns where an error is."""
        cell, (given, suggested) = self.cells[error], self.class_names(error)
        return Place(self.truth.source, self.truth.file_names[self.image_index[error]],
                     None if cell < 0 else int(self.truth.annotation_ids[cell]), given or suggested,
                     f'suspicion {self.suspicions[error]:.2f}: {self.details[error]}')


def find_label_errors(truth: GroundTruth, predictions: Predictions, is_predicted: np.ndarray | None = None,
                      min_suspicion: float = MIN_SUSPICION) -> LabelErrors:
    """Finds labels, and places without a label, that the predictions contradict.

    What makes each kind of error suspicious is described in :mod:`mmcell.inspection.label_suspects`, and how scores
    become probabilities in :func:`mmcell.inspection.label_evidence.gather_evidence`. Regions that are not annotated
    cell by cell are not judged, and predictions in them are no missing labels. Where a limit has cut off the
    predictions of an image, no label is called spurious.

    Args:
        truth: The labelled cells.
        predictions: Predictions of models that did not learn from these images, with low scores as well.
        is_predicted: (I,) bool, the images that the models were shown; None: those with at least one prediction.
        min_suspicion: Errors that are less suspicious are left out.

    Raises:
        ValueError: A mask is not a valid RLE of the size of its image.
    """
    if is_predicted is None:
        is_predicted = np.bincount(predictions.image_index, minlength=len(truth.image_ids)) > 0
    pairs = Pairs(truth.of_images(is_predicted), predictions.of_images(is_predicted))
    evidence, is_cut, least = gather_evidence(pairs), _is_cut(pairs), max(min_suspicion, 1e-9)
    suspects = [*find_spurious(evidence, least, is_cut),
                *(suspect for find in (find_wrong_classes, find_missing, find_badly_located, find_merged, find_split)
                  for suspect in find(evidence, least))]
    remarks = _remark_unchecked(truth, is_predicted) + _remark_cut(is_cut) + _remark_agreement(evidence)
    return _to_errors(_explain_once(suspects), evidence, remarks)


def _explain_once(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Returns the suspects in order; of those that share a labelled cell or a prediction, only the first."""
    cells, predicted, kept = set(), set(), []
    for suspect in sorted(suspects, key=lambda suspect: (
            -suspect.suspicion, KINDS.index(suspect.kind), suspect.cell, suspect.detail)):
        own_cells, own_predicted = {suspect.cell, suspect.other_cell} - {-1}, {suspect.predicted} - {-1}
        if not own_cells & cells and not own_predicted & predicted:
            cells |= own_cells
            predicted |= own_predicted
            kept.append(suspect)
    return kept


def _to_errors(suspects: Sequence[Suspect], evidence: Evidence, remarks: Sequence[Finding]) -> LabelErrors:
    truth, predictions = evidence.pairs.truth, evidence.pairs.predictions
    cells, others, predicted = (np.array([getattr(suspect, name) for suspect in suspects], np.int64)
                                for name in ('cell', 'other_cell', 'predicted'))
    images = np.concatenate([truth.image_index, predictions.image_index])
    return LabelErrors(
        truth, predictions, np.array([suspect.kind for suspect in suspects], str),
        np.array([suspect.suspicion for suspect in suspects], float),
        images[np.where(cells >= 0, cells, len(truth.rles) + predicted)], cells, others, predicted,
        [suspect.detail for suspect in suspects], evidence.agreement, tuple(remarks))


def _is_cut(pairs: Pairs) -> np.ndarray:
    """Returns (I,) bool, whether a limit seems to have cut off the predictions of an image."""
    counts = np.bincount(pairs.predictions.image_index, minlength=len(pairs.truth.image_ids))
    limit = counts.max(initial=0)
    is_most = counts == limit
    return is_most & bool(limit > 0 and (limit % _ROUND_LIMIT == 0 or is_most.sum() >= _MANY_AT_LIMIT))


def _remark_unchecked(truth: GroundTruth, is_predicted: np.ndarray) -> list[Finding]:
    if is_predicted.all():
        return []
    unchecked = np.flatnonzero(~is_predicted)
    names = list_some([truth.file_names[image] for image in unchecked], ', ', 3)
    return [Finding('labels-not-checked', 'note',
                    f'{len(unchecked)} of {len(is_predicted)} images have no prediction, so that their labels were not '
                    f'checked: {names}.',
                    places=tuple(Place(truth.source, truth.file_names[image]) for image in unchecked))]


def _remark_cut(is_cut: np.ndarray) -> list[Finding]:
    if not is_cut.any():
        return []
    return [Finding('predictions-cut-off', 'note',
                    f'{int(is_cut.sum())} of {len(is_cut)} images have as many predictions as the model may give, so '
                    'that no label of them is called spurious.',
                    'Predict again with a higher limit: --cfg-options model.test_cfg.rcnn.max_per_img=N')]


def _remark_agreement(evidence: Evidence) -> list[Finding]:
    overlaps, truth = evidence.overlaps, evidence.pairs.truth
    if truth.is_crowd.all():
        return []
    hits = (overlaps.ious > HIT_IOU) & evidence.is_best[overlaps.pred_index]
    mean_iou = float(overlaps.ious[hits].mean()) if hits.any() else 0.
    numbers = f'F1 {evidence.agreement:.3f}, mean IoU of hits {mean_iou:.3f}'
    if (evidence.agreement > _MOST_AGREEMENT and mean_iou > _MOST_IOU) or mean_iou > _COPIED_IOU:
        return [Finding('predictions-not-out-of-fold', 'warning',
                        f'Predictions and labels of {truth.source} agree almost perfectly ({numbers}), as those of a '
                        'model that has learnt from these labels. Errors that a model has learnt cannot be found '
                        'with it.',
                        'Predict each image with a model that has not seen it: tools/study.py --folds')]
    if evidence.agreement < _LEAST_AGREEMENT:
        return [Finding('predictions-too-weak', 'warning',
                        f'Predictions and labels of {truth.source} have little in common ({numbers}): either the model '
                        'is too weak to judge labels, or the labels lie beside the cells.',
                        'Look at the predictions with tools/report.py, and train longer.')]
    return []
