"""Kinds of error of predictions, and how much each kind costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmcell.evaluation.matching import match_greedily
from mmcell.evaluation.overlaps import Overlaps
from mmcell.evaluation.pairs import Pairs

ERROR_KINDS = ('classification', 'localisation', 'both', 'duplicate', 'background')
CORRECT = 'correct'
# The kinds of error in which a prediction points at a true cell: without the error the cell would be found.
_POINTING = ('classification', 'localisation')
_FOREGROUND_IOU = .5
_BACKGROUND_IOU = .1


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on K predictions of a set of images with N true cells.

    Attributes:
        kinds: (K,) str, 'correct' or an entry of ``ERROR_KINDS``.
        scores: (K,) float64.
        image_index: (K,) int64, ascending, the image of each prediction.
        nearest_true: (K,) int64, the true cell that each prediction overlaps most, -1 if it overlaps none.
        found_true: (K,) int64, the true cell that each correct prediction has found, -1 for errors.
        is_found: (N,) bool, whether there is a correct prediction of a true cell.
    """

    kinds: np.ndarray
    scores: np.ndarray
    image_index: np.ndarray
    nearest_true: np.ndarray
    found_true: np.ndarray
    is_found: np.ndarray

    @cached_property
    def of_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """What pictures show: (N,) str 'hit', 'wrong class' or 'missed', and (K,) str with 'spurious' for 'missed'.

        A true cell that is not found is 'wrong class' if a prediction of another class has an IoU above .5 with it.
        """
        has_wrong_class = np.zeros(len(self.is_found), bool)
        has_wrong_class[self.nearest_true[self.kinds == 'classification']] = True
        return (np.where(self.is_found, 'hit', np.where(has_wrong_class, 'wrong class', 'missed')),
                np.select([self.kinds == CORRECT, self.kinds == 'classification'], ['hit', 'wrong class'], 'spurious'))


def judge_predictions(pairs: Pairs, score_threshold: float) -> Verdicts:
    """Sorts the predictions into correct ones and kinds of error. They are not painted and may overlap.

    This is a simplified version of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
    Errors", ECCV 2020, section 2.2): a prediction is judged only by the true cell with which its mask has the largest
    IoU. By descending score, each prediction takes the free true cell of its class with the largest IoU above .5, and
    is correct. The other predictions are errors of the kind

    - duplicate: the IoU is above .5 with a cell of the same class, which a prediction with a higher score has taken;
    - classification: the IoU is above .5 with a cell of another class;
    - localisation: the IoU is above .1 and at most .5, with a cell of the same class;
    - both: the IoU is above .1 and at most .5, with a cell of another class;
    - background: the IoU is at most .1 with every cell.

    Args:
        pairs: The true and the predicted cells.
        score_threshold: Predictions with a lower score are left out.

    Raises:
        ValueError: A mask is not a valid RLE of the size of its image.
    """
    true_classes, is_kept = pairs.truth.class_index, pairs.predictions.scores >= score_threshold
    pred_classes, scores = pairs.predictions.class_index[is_kept], pairs.predictions.scores[is_kept]
    overlaps = pairs.overlaps.of_predictions(is_kept)
    may_match = np.flatnonzero(
        (overlaps.ious > _FOREGROUND_IOU)
        & (true_classes[overlaps.true_index] == pred_classes[overlaps.pred_index]))
    matched = may_match[match_greedily(
        overlaps.true_index[may_match], overlaps.pred_index[may_match], overlaps.ious[may_match], scores)]
    nearest_true, nearest_iou = _nearest(overlaps)
    # The index -1 of predictions that overlap no cell means the appended class -1. They have IoU 0: background.
    has_true_class = np.append(true_classes, -1)[nearest_true] == pred_classes
    kinds = np.select(
        [nearest_iou <= _BACKGROUND_IOU, nearest_iou <= _FOREGROUND_IOU],
        ['background', np.where(has_true_class, 'localisation', 'both')],
        np.where(has_true_class, 'duplicate', 'classification'))
    kinds[overlaps.pred_index[matched]] = CORRECT
    found_true = np.full(len(scores), -1)
    found_true[overlaps.pred_index[matched]] = overlaps.true_index[matched]
    is_found = np.zeros(len(true_classes), bool)
    is_found[overlaps.true_index[matched]] = True
    return Verdicts(kinds, scores, pairs.predictions.image_index[is_kept], nearest_true, found_true, is_found)


def _nearest(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Returns the true cell with the largest IoU of each prediction, -1 if it overlaps none, and this IoU, or 0."""
    nearest_true = np.full(len(overlaps.pred_areas_px), -1)
    nearest_iou = np.zeros(len(overlaps.pred_areas_px))
    # If several values are assigned to one prediction, numpy keeps the last: the largest IoU, and among equal ones the
    # first true cell. If prediction 0 overlaps the true cells 0, 1 and 2 with the IoUs [1/3, 1/3, 1/7], the order is
    # [2, 1, 0], and true cell 0 is kept.
    order = np.lexsort((-overlaps.true_index, overlaps.ious))
    nearest_true[overlaps.pred_index[order]] = overlaps.true_index[order]
    nearest_iou[overlaps.pred_index[order]] = overlaps.ious[order]
    return nearest_true, nearest_iou


def count_errors(verdicts: Verdicts) -> dict:
    """Counts the predictions of each kind and the missed true cells, and what the F1 would be without each kind.

    A true cell is missed if no prediction is correct about it, and no classification or localisation error points at
    it. F1 counts a cell as found if a prediction has the correct class and an IoU above .5. One kind at a time is
    mended: classification and localisation errors by finding the true cells at which they point, each once, and
    removing the remaining predictions of the kind; both, duplicate and background errors by removing the predictions;
    missed cells by finding them.

    Returns:
        ``{'n_correct', 'n_true', 'n_predicted', 'F1', 'kinds': {kind: {'n', 'F1_if_mended'}}}``. F1 is NaN if there are
        neither true nor predicted cells.
    """
    n_true, n_predicted, n_correct = len(verdicts.is_found), len(verdicts.kinds), int(verdicts.is_found.sum())
    kinds = {}
    for kind in ERROR_KINDS:
        n_errors = int((verdicts.kinds == kind).sum())
        n_mended = int(_cells_pointed_at(verdicts, [kind]).sum()) if kind in _POINTING else 0
        kinds[kind] = {'n': n_errors, 'F1_if_mended': _f1(
            n_correct + n_mended, n_predicted - n_errors + n_mended, n_true)}
    n_missed = int((~verdicts.is_found & ~_cells_pointed_at(verdicts, _POINTING)).sum())
    kinds['missed'] = {'n': n_missed, 'F1_if_mended': _f1(n_correct + n_missed, n_predicted + n_missed, n_true)}
    return {'n_correct': n_correct, 'n_true': n_true, 'n_predicted': n_predicted,
            'F1': _f1(n_correct, n_predicted, n_true), 'kinds': kinds}


def _cells_pointed_at(verdicts: Verdicts, kinds: Sequence[str]) -> np.ndarray:
    """Returns (N,) bool, whether a true cell is not found, but is the nearest cell of an error of these kinds."""
    is_pointed_at = np.zeros(len(verdicts.is_found), bool)
    is_pointed_at[verdicts.nearest_true[np.isin(verdicts.kinds, kinds)]] = True
    return is_pointed_at & ~verdicts.is_found


def _f1(n_correct: int, n_predicted: int, n_true: int) -> float:
    return float(2 * n_correct / (n_predicted + n_true)) if n_predicted + n_true else float('nan')
