"""The report on mistakes: confused classes, merged and split cells, kinds of error, and reliability of scores."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.calibration import reliability
from mmcell.evaluation.error_types import JudgedImage, count_errors, judge_predictions
from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.label_maps import PaintedPair, paint_pair

MERGES_AND_SPLITS = ('n_merges', 'n_merged_true_cells', 'n_splits', 'n_split_pieces')


def error_report(pairs: Sequence[ImagePair], categories: Sequence[dict], score_threshold: float,
                 judged: Sequence[JudgedImage] | None = None) -> dict:
    """Returns the report on mistakes of the predictions with at least the given score.

    Confusions, merges and splits are counted on the painted label maps. Kinds of error and reliability are counted on
    the predictions as they are, with their overlaps.

    Args:
        pairs: The true and the predicted cells of each image.
        categories: COCO categories.
        score_threshold: Predictions with a lower score are left out.
        judged: The result of :func:`judge_predictions` for each image, if it is known already.

    Returns:
        ``{'score_threshold', 'confusion', 'merges_and_splits', 'error_kinds', 'reliability'}``, made of numbers,
        strings, lists and dicts; see :func:`confusion_matrix`, :func:`merges_and_splits`, :func:`count_errors` and
        :func:`reliability`. For the reliability, a prediction is correct if :func:`judge_predictions` says so.
    """
    class_ids, class_names = ([category[key] for category in categories] for key in ('id', 'name'))
    painted = [paint_pair(pair).above(score_threshold) for pair in pairs]
    if judged is None:
        judged = [judge_predictions(pair, score_threshold) for pair in pairs]
    scores, kinds = (np.concatenate([getattr(image, name) for image in judged]) if judged else np.zeros(0)
                     for name in ('scores', 'kinds'))
    merge_counts = [merges_and_splits(image) for image in painted]
    confusions = sum((confusion_matrix(image, class_ids) for image in painted),
                     np.zeros((len(class_ids) + 1, len(class_ids) + 1), np.int64))
    return {
        'score_threshold': float(score_threshold),
        'confusion': {'rows_true': [*class_names, 'spurious'], 'columns_predicted': [*class_names, 'missed'],
                      'counts': confusions.tolist()},
        'merges_and_splits': {name: sum(counts[name] for counts in merge_counts) for name in MERGES_AND_SPLITS},
        'error_kinds': count_errors(judged),
        'reliability': reliability(scores, kinds == 'correct'),
    }


def confusion_matrix(painted: PaintedPair, class_ids: Sequence[int]) -> np.ndarray:
    """Counts the cells that are matched at IoU > .5 regardless of their class, by true and by predicted class.

    Args:
        painted: The comparison of the two label maps of an image.
        class_ids: The category ids of the C classes.

    Returns:
        (C + 1, C + 1) int64. The rows are the true classes, and a last row for spurious predictions, which have no true
        cell. The columns are the predicted classes, and a last column for missed true cells, which have no prediction.
        The last entry of both is 0.

    Raises:
        KeyError: A cell has a class that is not in ``class_ids``.
    """
    # For the classes [4, 7], true cells of the classes [4, 7, 7] have rows = [0, 1, 1], and predictions of the classes
    # [7, 4] have columns = [1, 0]. If only true cell 0 and prediction 0 match, 1 is counted at (0, 1), the two missed
    # cells at (1, -1), and the spurious prediction at (-1, 0): [[0, 1, 0], [0, 0, 2], [1, 0, 0]].
    index_of = {class_id: i for i, class_id in enumerate(class_ids)}
    rows, columns = (np.array([index_of[class_id] for class_id in classes.tolist()], np.int64)
                     for classes in (painted.true_classes, painted.pred_classes))
    matched = painted.overlaps.ious > .5
    true_index, pred_index = painted.overlaps.true_index[matched], painted.overlaps.pred_index[matched]
    counts = np.zeros((len(class_ids) + 1, len(class_ids) + 1), np.int64)
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
