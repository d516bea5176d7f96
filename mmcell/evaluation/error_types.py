"""What is wrong with each prediction: kinds of error, and how much each costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.matching import match_greedily
from mmcell.evaluation.overlaps import Overlaps, overlaps_of_rles

ERROR_KINDS = ('classification', 'localisation', 'both', 'duplicate', 'background')
_CORRECT = 'correct'
# The kinds that are about a cell that is there.
_POINTING = ('classification', 'localisation')
_FOREGROUND_IOU = .5
_BACKGROUND_IOU = .1


@dataclass(frozen=True)
class JudgedImage:
    """The predictions of one image, each judged.

    Attributes:
        kinds: (M,) str, 'correct' or one of ``ERROR_KINDS``.
        scores: (M,) float64.
        nearest_true: (M,) int64, the true cell that each overlaps most, -1 where there is none.
        is_found: (N,) bool, true cells with a correct prediction.
    """

    kinds: np.ndarray
    scores: np.ndarray
    nearest_true: np.ndarray
    is_found: np.ndarray


def judge_predictions(pair: ImagePair, score_threshold: float) -> JudgedImage:
    """Sorts the predictions of an image, as they are and not painted, into correct ones and kinds of error.

    After TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section
    2.2), simplified: a prediction is judged by the one true cell that it overlaps most, by IoU of masks. By descending
    score, each takes the free true cell of its class with the largest IoU > .5, and is correct. The others are:

    - duplicate: IoU > .5 with a cell of its class, which a prediction with a higher score has taken;
    - classification: IoU > .5 with a cell of another class;
    - localisation: .1 < IoU <= .5 with a cell of its class;
    - both: .1 < IoU <= .5 with a cell of another class;
    - background: IoU <= .1 with every cell.
    """
    is_kept = pair.pred_scores >= score_threshold
    pred_rles = [rle for rle, kept in zip(pair.pred_rles, is_kept, strict=True) if kept]
    pred_classes, scores = pair.pred_classes[is_kept], pair.pred_scores[is_kept]
    overlaps = overlaps_of_rles(pair.true_rles, pred_rles)
    may_match = np.flatnonzero(
        (overlaps.ious > _FOREGROUND_IOU)
        & (pair.true_classes[overlaps.true_index] == pred_classes[overlaps.pred_index]))
    matched = may_match[match_greedily(
        overlaps.true_index[may_match], overlaps.pred_index[may_match], overlaps.ious[may_match], scores)]
    nearest_true, nearest_iou = _nearest(overlaps)
    # Where there is no true cell at all, class 0 stands for the absent nearest one; its IoU is 0.
    is_class = np.append(pair.true_classes, 0)[nearest_true] == pred_classes
    kinds = np.select(
        [nearest_iou <= _BACKGROUND_IOU, nearest_iou <= _FOREGROUND_IOU],
        ['background', np.where(is_class, 'localisation', 'both')], np.where(is_class, 'duplicate', 'classification'))
    kinds[overlaps.pred_index[matched]] = _CORRECT
    is_found = np.zeros(len(pair.true_rles), bool)
    is_found[overlaps.true_index[matched]] = True
    return JudgedImage(kinds, scores, nearest_true, is_found)


def _nearest(overlaps: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """For each prediction the true cell with the largest IoU, -1 where none overlaps, and this IoU."""
    nearest_true = np.full(len(overlaps.pred_ids), -1)
    nearest_iou = np.zeros(len(overlaps.pred_ids))
    # Of several values for one prediction numpy keeps the last: the largest, of equal ones the first true cell.
    order = np.lexsort((-overlaps.true_index, overlaps.ious))
    nearest_true[overlaps.pred_index[order]] = overlaps.true_index[order]
    nearest_iou[overlaps.pred_index[order]] = overlaps.ious[order]
    return nearest_true, nearest_iou


def count_errors(judged: Sequence[JudgedImage]) -> dict:
    """How many predictions fall into each kind, how many true cells are missed, and what mending a kind would gain.

    A true cell is missed when no prediction is correct about it and no classification or localisation error points
    at it. F1 is that of cells found with the right class at IoU > .5. Mended are, one kind at a time: classification
    and localisation errors by finding the true cells that they point at, once each, the surplus predictions being
    removed; both, duplicate and background by removing the predictions; missed by finding the cells.

    Returns:
        ``{'n_correct', 'n_true', 'n_predicted', 'F1', 'kinds': {kind: {'n', 'F1_if_mended'}}}``, F1 NaN without cells.
    """
    n_true = sum(len(image.is_found) for image in judged)
    n_predicted = sum(len(image.kinds) for image in judged)
    n_correct = sum(int(image.is_found.sum()) for image in judged)
    kinds = {}
    for kind in ERROR_KINDS:
        n_errors = sum(int((image.kinds == kind).sum()) for image in judged)
        n_mended = sum(_cells_pointed_at(image, [kind]).sum() for image in judged) if kind in _POINTING else 0
        kinds[kind] = {'n': n_errors, 'F1_if_mended': _f1(
            n_correct + n_mended, n_predicted - n_errors + n_mended, n_true)}
    n_missed = sum(int((~image.is_found & ~_cells_pointed_at(image, _POINTING)).sum()) for image in judged)
    kinds['missed'] = {'n': n_missed, 'F1_if_mended': _f1(n_correct + n_missed, n_predicted + n_missed, n_true)}
    return {'n_correct': n_correct, 'n_true': n_true, 'n_predicted': n_predicted,
            'F1': _f1(n_correct, n_predicted, n_true), 'kinds': kinds}


def _cells_pointed_at(image: JudgedImage, kinds: Sequence[str]) -> np.ndarray:
    """(N,) bool: true cells not found that errors of these kinds overlap most."""
    is_pointed_at = np.zeros(len(image.is_found), bool)
    is_pointed_at[image.nearest_true[np.isin(image.kinds, kinds)]] = True
    return is_pointed_at & ~image.is_found


def _f1(n_correct: int, n_predicted: int, n_true: int) -> float:
    return float(2 * n_correct / (n_predicted + n_true)) if n_predicted + n_true else float('nan')
