"""All values of a set of predictions, with intervals for those that are compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.evaluation.average_precision import SIZE_BINS_PX, average_precisions, resampled_average_precisions
from mmcell.evaluation.bootstrap import paired_differences, percentile_interval
from mmcell.evaluation.image_pairs import pair_images
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.mistakes import error_report
from mmcell.evaluation.segmentation_scores import best_threshold, resampled_segmentation_scores, segmentation_scores

# Scores are tried up to .95: at 1 there may be no prediction left.
SWEEP_THRESHOLDS = tuple(percent / 100 for percent in range(0, 100, 5))
SWEPT_SCORES = ('PQ_pooled', 'mPQ_pooled', 'AJI_pooled', 'F1@IoU.50_pooled', 'Dice_pooled')


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        values: name to value, NaN where nothing defines it.
        resampled: name to its values on resampled images, (n_resamples,), for the values that have an interval.
        errors: see :func:`mmcell.evaluation.mistakes.error_report`.
    """

    values: dict[str, float]
    resampled: dict[str, np.ndarray]
    errors: dict

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals; none where nothing was resampled."""
        return {name: percentile_interval(values) for name, values in self.resampled.items()}


def evaluate(document: dict, detections: list[dict], score_threshold: float, weights: np.ndarray,
             size_bins_px: Sequence[float] = SIZE_BINS_PX,
             tell: Callable[[str], None] = lambda step: None) -> Evaluation:
    """Measures predictions: average precision, scores of segmentation and errors.

    Args:
        document: COCO ground truth, see :func:`mmcell.evaluation.ground_truth.read_ground_truth`.
        detections: COCO results, see :func:`mmcell.evaluation.result_files.read_result_file`.
        score_threshold: predictions below count for average precision alone.
        weights: (n_resamples, n_images) from ``resample_weights``; of no row for no intervals.
        size_bins_px: edges between the size bins of average precision, root of the area.
        tell: gets the name of each step before it begins.
    """
    class_ids, class_names = ([category[key] for category in document['categories']] for key in ('id', 'name'))
    tell('average precision')
    values = average_precisions(document, detections, size_bins_px=size_bins_px)
    tell('segmentation')
    pairs = pair_images(document, detections)
    statistics = [image_statistics(pair, class_ids, score_threshold) for pair in pairs]
    values |= segmentation_scores(statistics, class_names)
    resampled = {}
    if len(weights):
        tell('intervals')
        resampled = {**resampled_average_precisions(document, detections, weights),
                     **resampled_segmentation_scores(statistics, class_names, weights)}
    tell('errors')
    return Evaluation(values, resampled, error_report(pairs, document['categories'], score_threshold))


def compare(first: Evaluation, second: Evaluation) -> dict[str, dict]:
    """Name to ``{'first', 'second', 'difference', 'interval'}`` of the values that both have intervals for.

    The difference is first minus second. Its interval is the 95 % percentile interval of the differences on the same
    resampled images: narrower than those of the values, as images that are hard are hard for both.
    """
    return {name: {'first': first.values[name], 'second': second.values[name],
                   'difference': first.values[name] - second.values[name], 'interval': percentile_interval(differences)}
            for name, differences in paired_differences(first.resampled, second.resampled).items()}


def sweep(document: dict, detections: list[dict]) -> dict:
    """The score threshold that is best for each of some scores; for validation data.

    Returns:
        ``{'best': {score: threshold}, 'table': [{'score_threshold', and every score of segmentation}]}``. Of equal
        values the lowest threshold is best.
    """
    _, table = best_threshold(pair_images(document, detections), document['categories'], SWEEP_THRESHOLDS)
    best = {name: max(table, key=lambda row, name=name: row[name])['score_threshold'] for name in SWEPT_SCORES}
    return {'best': best, 'table': table}
