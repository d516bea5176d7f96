"""The values of every single image, and the images that are worst."""

import math
from collections.abc import Sequence

import numpy as np

from mmcell.annotations.ground_truth import GroundTruth
from mmcell.evaluation.average_precision import average_precisions_of
from mmcell.evaluation.coco_matching import ClassMatches
from mmcell.evaluation.error_types import Verdicts
from mmcell.evaluation.image_statistics import ImageStatistics

COUNTS = ('true_cells', 'detections', 'hits', 'missed', 'spurious', 'wrong_class')
SCORES = ('F1', 'PQ', 'AJI+', 'Dice')


def image_rows(truth: GroundTruth, statistics: Sequence[ImageStatistics], verdicts: Verdicts) -> list[dict]:
    """Returns one row per image of the annotation file, in its order.

    Args:
        truth: The images and the true cells.
        statistics: The result of ``image_statistics`` for each image.
        verdicts: The result of ``judge_predictions``.

    Returns:
        Rows with ``image_id``, ``file_name``, the ``COUNTS`` and the ``SCORES``. ``detections`` are those with at least
        the score threshold, ``hits`` those that are correct (mask IoU above .5 and the class of the true cell).
        true_cells = hits + missed, and detections = hits + spurious. ``wrong_class`` counts those spurious detections
        that have an IoU above .5 with a cell of another class. F1 is 2 hits / (true_cells + detections). In an image
        without true cells, every score is 0 if there are detections, and NaN if there are none.
    """
    n_images = len(truth.image_ids)
    n_true, n_hits = (np.bincount(truth.image_index[cells], minlength=n_images)
                      for cells in (slice(None), verdicts.is_found))
    n_predicted, n_wrong = (np.bincount(verdicts.image_index[cells], minlength=n_images)
                            for cells in (slice(None), verdicts.kinds == 'classification'))
    counts = np.stack([n_true, n_predicted, n_hits, n_true - n_hits, n_predicted - n_hits, n_wrong], axis=1).tolist()
    rows = []
    for image, ratios in enumerate(statistics):
        row = dict(zip(COUNTS, counts[image], strict=True))
        f1_ratio = 2 * row['hits'], row['true_cells'] + row['detections']
        scores = [numerator / denominator if denominator else math.nan
                  for numerator, denominator in (f1_ratio, *(ratios[name, None] for name in SCORES[1:]))]
        rows.append({'image_id': truth.image_ids[image], 'file_name': truth.file_names[image], **row,
                     **dict(zip(SCORES, scores, strict=True))})
    return rows


def with_average_precision(rows: Sequence[dict], truth: GroundTruth, matches: Sequence[ClassMatches]) -> list[dict]:
    """Returns the rows with AP and AP50 of the masks of each image; they use all detections, whatever their scores.

    In an image without true cells they are NaN, as COCO evaluation has it.

    Args:
        rows: The result of :func:`image_rows`.
        truth: The images and the true cells.
        matches: The matches of masks, with or without size bins, without a cap; see ``match_classes``.
    """
    completed = []
    for image, row in enumerate(rows):
        values = average_precisions_of([match.of_image(image) for match in matches], truth, 'segm', [None], ())
        completed.append({**row, 'AP': values['AP'], 'AP50': values['AP50']})
    return completed


def worst_images(rows: Sequence[dict], n_images: int) -> list[dict]:
    """Returns the images with the lowest F1, the lowest first; among equal ones, those with more mistakes first.

    A mistake is a missed cell or a spurious detection. Images without a mistake are left out.
    """
    with_mistakes = [row for row in rows if row['missed'] + row['spurious']]
    return sorted(with_mistakes, key=lambda row: (row['F1'], -row['missed'] - row['spurious']))[:n_images]
