"""Errors explained: confused classes, merged and split cells, kinds of error, and how reliable the scores are."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.calibration import reliability
from mmcell.evaluation.error_types import count_errors, judge_predictions
from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.label_maps import PaintedPair, paint_pair

MERGES_AND_SPLITS = ('n_merges', 'n_merged_true_cells', 'n_splits', 'n_split_pieces')


def error_report(pairs: Sequence[ImagePair], categories: Sequence[dict], score_threshold: float) -> dict:
    """What a JSON file says about the errors of predictions with at least some score.

    Confusions, merges and splits are counted on the painted label maps, kinds of error and reliability on the
    predictions as they are, with their overlaps.

    Args:
        pairs: true and predicted cells of the images.
        categories: COCO categories.
        score_threshold: predictions with a lower score are left out.

    Returns:
        ``{'score_threshold', 'confusion', 'merges_and_splits', 'error_kinds', 'reliability'}`` of numbers, strings,
        lists and dicts; see :func:`confusion_matrix`, :func:`merges_and_splits`, :func:`count_errors` and
        :func:`reliability`. A prediction is correct for the last when :func:`judge_predictions` says so.
    """
    class_ids, class_names = ([category[key] for category in categories] for key in ('id', 'name'))
    painted = [paint_pair(pair).above(score_threshold) for pair in pairs]
    judged = [judge_predictions(pair, score_threshold) for pair in pairs]
    scores, kinds = (np.concatenate([getattr(image, name) for image in judged]) if judged else np.zeros(0)
                     for name in ('scores', 'kinds'))
    joins = [merges_and_splits(image) for image in painted]
    confusions = sum((confusion_matrix(image, class_ids) for image in painted),
                     np.zeros((len(class_ids) + 1, len(class_ids) + 1), np.int64))
    return {
        'score_threshold': float(score_threshold),
        'confusion': {'rows_true': [*class_names, 'spurious'], 'columns_predicted': [*class_names, 'missed'],
                      'counts': confusions.tolist()},
        'merges_and_splits': {name: sum(counts[name] for counts in joins) for name in MERGES_AND_SPLITS},
        'error_kinds': count_errors(judged),
        'reliability': reliability(scores, kinds == 'correct'),
    }


def confusion_matrix(painted: PaintedPair, class_ids: Sequence[int]) -> np.ndarray:
    """Cells matched at IoU > .5 whatever their class, by true and by predicted class.

    Args:
        painted: the label maps of an image, compared.
        class_ids: category ids of the C classes.

    Returns:
        (C + 1, C + 1) int64. Rows: true class, and last the spurious predictions, those without a true cell. Columns:
        predicted class, and last the missed true cells, those without a prediction. The last of both is 0.

    Raises:
        KeyError: a cell has a class that ``class_ids`` lacks.
    """
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
    """Predictions that join true cells, and true cells that predictions cut up, whatever the classes.

    A cell lies in another when more than half of its area does. A merge is a prediction in which two or more true
    cells lie, a split a true cell in which two or more predictions lie.

    Returns:
        Counts by the names ``MERGES_AND_SPLITS``: predictions that are merges, true cells in them, true cells that are
        split, predictions in these.
    """
    overlaps = painted.overlaps
    true_inside = 2 * overlaps.intersections_px > overlaps.true_areas_px[overlaps.true_index]
    pred_inside = 2 * overlaps.intersections_px > overlaps.pred_areas_px[overlaps.pred_index]
    true_in_pred = np.bincount(overlaps.pred_index[true_inside])
    pred_in_true = np.bincount(overlaps.true_index[pred_inside])
    merged, split = true_in_pred[true_in_pred > 1], pred_in_true[pred_in_true > 1]
    return dict(zip(MERGES_AND_SPLITS, (len(merged), int(merged.sum()), len(split), int(split.sum())), strict=True))
