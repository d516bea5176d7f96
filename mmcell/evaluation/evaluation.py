"""Computes all values of a set of predictions, and intervals for the values that may be compared."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmcell.annotations.ground_truth import ImageSource
from mmcell.evaluation import average_precision
from mmcell.evaluation.bootstrap import percentile_interval
from mmcell.evaluation.coco_matching import ClassMatches, match_classes
from mmcell.evaluation.error_types import Verdicts, judge_predictions
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.mistakes import error_report
from mmcell.evaluation.pairs import Pairs
from mmcell.evaluation.per_image import image_rows
from mmcell.evaluation.segmentation_scores import resampled_segmentation_scores, segmentation_scores

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
        mask_matches: The matches of masks by COCO's rules, of all detections.
        verdicts: The verdicts on the predictions with at least the score threshold.
    """

    values: dict[str, float]
    resampled: dict[str, np.ndarray]
    errors: dict
    images: list[dict]
    mask_matches: list[ClassMatches]
    verdicts: Verdicts

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % percentile interval of each value that was resampled."""
        return {name: percentile_interval(values) for name, values in self.resampled.items()}


@dataclass(frozen=True)
class EvaluatedFile:
    """A results file with what was measured.

    Attributes:
        path: The file, as the user has written it.
        name: Its name in tables.
        pairs: The true cells, and the predicted cells of the file.
        sources: Where the images are, see :class:`mmcell.predictions.result_files.ResultFile`.
        remarks: Notes about the file for people who read the values.
        evaluation: The values.
    """

    path: str
    name: str
    pairs: Pairs
    sources: dict[int, ImageSource]
    remarks: list[str]
    evaluation: Evaluation

    def value_rows(self) -> list[dict]:
        """Returns one row per value for a CSV file: the name of this file, the value, and its interval or NaN."""
        rows = []
        for value, number in self.evaluation.values.items():
            low, high = self.evaluation.intervals.get(value, (math.nan, math.nan))
            rows.append({'results': self.name, 'value': value, 'number': number, 'low': low, 'high': high})
        return rows


def evaluate(pairs: Pairs, score_threshold: float, weights: np.ndarray,
             size_bins_px: Sequence[float] = average_precision.SIZE_BINS_PX,
             on_step: Callable[[str], None] = lambda step: None) -> Evaluation:
    """Measures predictions: average precision, segmentation scores, intervals and mistakes.

    Args:
        pairs: The true and the predicted cells.
        score_threshold: Predictions with a lower score count only for average precision.
        weights: (n_resamples, n_images), how often each image counts, see ``resample_weights``. Without rows there are
            no intervals.
        size_bins_px: Edges between the size bins of average precision, as square roots of areas in px.
        on_step: A function that is called with the name of each step before the step begins.
    """
    truth, class_names = pairs.truth, pairs.truth.class_names
    on_step('average precision')
    matches = {kind: match_classes(pairs, kind, size_bins_px) for kind in average_precision.PREFIXES}
    values = {}
    for kind, kind_matches in matches.items():
        values |= average_precision.average_precisions_of(kind_matches, truth, kind, size_bins_px=size_bins_px)
    on_step('segmentation')
    painted = [image.above(score_threshold) for image in pairs.painted]
    statistics = [image_statistics(image, len(class_names)) for image in painted]
    values |= segmentation_scores(statistics, class_names)
    resampled = {}
    if len(weights):
        on_step('intervals')
        resampled = {**average_precision.resampled_average_precisions(matches['segm'], weights),
                     **resampled_segmentation_scores(statistics, class_names, weights)}
    on_step('errors')
    verdicts = judge_predictions(pairs, score_threshold)
    return Evaluation(values, resampled, error_report(painted, verdicts, class_names, score_threshold),
                      image_rows(truth, statistics, verdicts), matches['segm'], verdicts)


def compare(first: Evaluation, second: Evaluation) -> dict[str, dict]:
    """Compares the values for which both evaluations have intervals.

    The interval is the 95 % percentile interval of the differences on the same resampled images. It is narrower than
    the intervals of the values, because images that are difficult are difficult for both.

    Returns:
        Names with ``{'first', 'second', 'difference', 'interval'}``. The difference is first minus second.
    """
    return {name: {'first': first.values[name], 'second': second.values[name],
                   'difference': first.values[name] - second.values[name],
                   'interval': percentile_interval(values - second.resampled[name])}
            for name, values in first.resampled.items() if name in second.resampled}


def sweep(pairs: Pairs) -> dict:
    """Tries many score thresholds and finds the best one of each of ``SWEPT_SCORES``; intended for validation data.

    Returns:
        ``{'best': {score: threshold}, 'table': [row]}``. Each row has the threshold as ``score_threshold``, and every
        segmentation score. Among equal values the lowest threshold is the best.
    """
    class_names, table = pairs.truth.class_names, []
    for threshold in SWEEP_THRESHOLDS:
        statistics = [image_statistics(image.above(threshold), len(class_names)) for image in pairs.painted]
        table.append({'score_threshold': threshold, **segmentation_scores(statistics, class_names)})
    best = {name: max(table, key=lambda row, name=name: row[name])['score_threshold'] for name in SWEPT_SCORES}
    return {'best': best, 'table': table}
