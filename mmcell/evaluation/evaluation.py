"""Computes all values of a set of predictions, and intervals for the values that may be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.evaluation.average_precision import SIZE_BINS_PX, average_precisions, resampled_average_precisions
from mmcell.evaluation.bootstrap import paired_differences, percentile_interval
from mmcell.evaluation.error_types import judge_predictions
from mmcell.evaluation.image_pairs import pair_images
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.mistakes import error_report
from mmcell.evaluation.per_image import image_rows
from mmcell.evaluation.segmentation_scores import best_threshold, resampled_segmentation_scores, segmentation_scores

# The highest threshold is .95, because at 1 there may be no prediction left.
SWEEP_THRESHOLDS = tuple(percent / 100 for percent in range(0, 100, 5))
SWEPT_SCORES = ('PQ_pooled', 'mPQ_pooled', 'AJI_pooled', 'F1@IoU.50_pooled', 'Dice_pooled')


@dataclass(frozen=True)
class Evaluation:
    """The values of a set of predictions.

    Attributes:
        values: Names with values. A value is NaN if it is not defined.
        resampled: Names with values on resampled images, (n_resamples,) each, for the values that have an interval.
        errors: The report on mistakes, see :func:`mmcell.evaluation.mistakes.error_report`.
        images: One row per image, see :func:`mmcell.evaluation.per_image.image_rows`.
    """

    values: dict[str, float]
    resampled: dict[str, np.ndarray]
    errors: dict
    images: list[dict]

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Returns the 95 % percentile interval of each value that was resampled."""
        return {name: percentile_interval(values) for name, values in self.resampled.items()}


def evaluate(document: dict, detections: list[dict], score_threshold: float, weights: np.ndarray,
             size_bins_px: Sequence[float] = SIZE_BINS_PX,
             on_step: Callable[[str], None] = lambda step: None) -> Evaluation:
    """Measures predictions: average precision, segmentation scores, intervals and mistakes.

    Args:
        document: COCO ground truth, see :func:`mmcell.evaluation.ground_truth.read_ground_truth`.
        detections: COCO results, see :func:`mmcell.evaluation.result_files.read_result_file`.
        score_threshold: Predictions with a lower score count only for average precision.
        weights: (n_resamples, n_images), how often each image counts, see ``resample_weights``. Without rows there are
            no intervals.
        size_bins_px: Edges between the size bins of average precision, as square roots of areas in px.
        on_step: A function that is called with the name of each step before the step begins.
    """
    class_ids, class_names = ([category[key] for category in document['categories']] for key in ('id', 'name'))
    on_step('average precision')
    values = average_precisions(document, detections, size_bins_px=size_bins_px)
    on_step('segmentation')
    pairs = pair_images(document, detections)
    statistics = [image_statistics(pair, class_ids, score_threshold) for pair in pairs]
    values |= segmentation_scores(statistics, class_names)
    resampled = {}
    if len(weights):
        on_step('intervals')
        resampled = {**resampled_average_precisions(document, detections, weights),
                     **resampled_segmentation_scores(statistics, class_names, weights)}
    on_step('errors')
    judged = [judge_predictions(pair, score_threshold) for pair in pairs]
    return Evaluation(values, resampled, error_report(pairs, document['categories'], score_threshold, judged),
                      image_rows(document, statistics, judged))


def compare(first: Evaluation, second: Evaluation) -> dict[str, dict]:
    """Compares the values for which both evaluations have intervals.

    The interval is the 95 % percentile interval of the differences on the same resampled images. It is narrower than
    the intervals of the values, because images that are difficult are difficult for both.

    Returns:
        Names with ``{'first', 'second', 'difference', 'interval'}``. The difference is first minus second.
    """
    return {name: {'first': first.values[name], 'second': second.values[name],
                   'difference': first.values[name] - second.values[name], 'interval': percentile_interval(differences)}
            for name, differences in paired_differences(first.resampled, second.resampled).items()}


def sweep(document: dict, detections: list[dict]) -> dict:
    """Tries many score thresholds and finds the best one of each of ``SWEPT_SCORES``; intended for validation data.

    Returns:
        ``{'best': {score: threshold}, 'table': [row]}``. Each row has the threshold as ``score_threshold``, and every
        segmentation score. Among equal values the lowest threshold is the best.
    """
    _, table = best_threshold(pair_images(document, detections), document['categories'], SWEEP_THRESHOLDS)
    best = {name: max(table, key=lambda row, name=name: row[name])['score_threshold'] for name in SWEPT_SCORES}
    return {'best': best, 'table': table}
