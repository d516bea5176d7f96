"""The report on mistakes: confused classes, merged and split cells, kinds of error, and reliability of scores."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.error_types import CORRECT, Verdicts, count_errors
from mmcell.evaluation.pairs import PaintedPair

# The number of bins of scores in Guo et al. 2017.
N_BINS = 15
MERGES_AND_SPLITS = ('n_merges', 'n_merged_true_cells', 'n_splits', 'n_split_pieces')


def error_report(painted: Sequence[PaintedPair], verdicts: Verdicts, class_names: Sequence[str],
                 score_threshold: float) -> dict:
    """Returns the report on mistakes of the predictions with at least the given score.

    Confusions, merges and splits are counted on the painted label maps. Kinds of error and reliability are counted on
    the predictions as they are, with their overlaps.

    Args:
        painted: The comparison of the two label maps of each image, with the predictions of at least the given score.
        verdicts: The result of :func:`judge_predictions` for the given score.
        class_names: The names of the classes.
        score_threshold: The score.

    Returns:
        ``{'score_threshold', 'confusion', 'merges_and_splits', 'error_kinds', 'reliability'}``, made of numbers,
        strings, lists and dicts; see :func:`confusion_matrix`, :func:`merges_and_splits`, :func:`count_errors` and
        :func:`reliability`. For the reliability, a prediction is correct if :func:`judge_predictions` says so.
    """
    merge_counts = [merges_and_splits(image) for image in painted]
    confusions = sum((confusion_matrix(image, len(class_names)) for image in painted),
                     np.zeros((len(class_names) + 1, len(class_names) + 1), np.int64))
    return {
        'score_threshold': float(score_threshold),
        'confusion': {'rows_true': [*class_names, 'spurious'], 'columns_predicted': [*class_names, 'missed'],
                      'counts': confusions.tolist()},
        'merges_and_splits': {name: sum(counts[name] for counts in merge_counts) for name in MERGES_AND_SPLITS},
        'error_kinds': count_errors(verdicts),
        'reliability': reliability(verdicts.scores, verdicts.kinds == CORRECT),
    }


def confusion_matrix(painted: PaintedPair, n_classes: int) -> np.ndarray:
    """Counts the cells that are matched at IoU > .5 regardless of their class, by true and by predicted class.

    Args:
        painted: The comparison of the two label maps of an image.
        n_classes: The number C of classes.

    Returns:
        (C + 1, C + 1) int64. The rows are the true classes, and a last row for spurious predictions, which have no true
        cell. The columns are the predicted classes, and a last column for missed true cells, which have no prediction.
        The last entry of both is 0.
    """
    # Let true cells of the classes [0, 1, 1] be the rows, and predictions of the classes [1, 0] the columns. If only
    # true cell 0 and prediction 0 match, 1 is counted at (0, 1), the two missed cells at (1, -1), and the spurious
    # prediction at (-1, 0): [[0, 1, 0], [0, 0, 2], [1, 0, 0]].
    rows, columns = painted.true_classes, painted.pred_classes
    matched = painted.overlaps.ious > .5
    true_index, pred_index = painted.overlaps.true_index[matched], painted.overlaps.pred_index[matched]
    counts = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    np.add.at(counts, (rows[true_index], columns[pred_index]), 1)
    np.add.at(counts, (np.delete(rows, true_index), -1), 1)
    np.add.at(counts, (-1, np.delete(columns, pred_index)), 1)
    return counts


def merges_and_splits(painted: PaintedPair) -> dict[str, int]:
    """Counts predictions that merge true cells, and true cells that are split into predictions, regardless of class.

    A cell lies in another cell if more than half of its area does. A merge is a prediction in which two or more true
    cells lie. A split is a true cell in which two or more predictions lie.

    Returns:
        Counts under the names ``MERGES_AND_SPLITS``: predictions that are merges, true cells that lie in them, true
        cells that are split, and predictions that lie in these.
    """
    # True cells of 10, 10 and 10 px share [10, 6, 5] px with the only prediction: true_inside = [True, True, False], so
    # that true_in_pred = [2]. This is one merge of two true cells.
    overlaps = painted.overlaps
    true_inside = 2 * overlaps.intersections_px > overlaps.true_areas_px[overlaps.true_index]
    pred_inside = 2 * overlaps.intersections_px > overlaps.pred_areas_px[overlaps.pred_index]
    true_in_pred = np.bincount(overlaps.pred_index[true_inside])
    pred_in_true = np.bincount(overlaps.true_index[pred_inside])
    merged, split = true_in_pred[true_in_pred > 1], pred_in_true[pred_in_true > 1]
    return dict(zip(MERGES_AND_SPLITS, (len(merged), int(merged.sum()), len(split), int(split.sum())), strict=True))


def reliability(scores: np.ndarray, is_correct: np.ndarray, n_bins: int = N_BINS) -> dict:
    """Returns the expected calibration error: whether the score of a prediction is the probability that it is correct.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: scores are sorted into bins of equal
    width. The error is the mean over the bins of |precision - mean score|, weighted by the number of predictions. 0 is
    best, 1 is worst.

    Args:
        scores: (n,) float, from 0 to 1.
        is_correct: (n,) bool, whether each prediction is correct.
        n_bins: The number of bins.

    Returns:
        ``{'expected_calibration_error': float, 'bins': [{'from', 'to', 'n', 'mean_score', 'precision'}]}``. A score on
        the border of two bins counts in the lower one, as in eq. 3, and a score of 0 in the first. Empty bins are left
        out. The error is NaN if there are no predictions.
    """
    # With ten bins the scores [0, .05, .1, .62] are in the bins [0, 0, 0, 6].
    bin_indices = np.clip(np.ceil(scores * n_bins).astype(int) - 1, 0, n_bins - 1)
    bins = []
    for i in np.unique(bin_indices):
        inside = bin_indices == i
        bins.append({'from': float(i / n_bins), 'to': float((i + 1) / n_bins), 'n': int(inside.sum()),
                     'mean_score': float(scores[inside].mean()), 'precision': float(is_correct[inside].mean())})
    weighted_gaps = sum(row['n'] * abs(row['precision'] - row['mean_score']) for row in bins)
    return {'expected_calibration_error': weighted_gaps / len(scores) if len(scores) else float('nan'), 'bins': bins}
