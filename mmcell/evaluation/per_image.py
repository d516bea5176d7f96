"""The values of every single image, and the images that are worst."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.average_precision import average_precisions
from mmcell.evaluation.error_types import JudgedImage
from mmcell.evaluation.image_statistics import ImageStatistics

COUNTS = ('true_cells', 'detections', 'hits', 'missed', 'spurious', 'wrong_class')
SCORES = ('F1', 'PQ', 'AJI+', 'Dice')


def image_rows(document: dict, statistics: Sequence[ImageStatistics], judged: Sequence[JudgedImage]) -> list[dict]:
    """Returns one row per image of the annotation file, in its order.

    Args:
        document: COCO ground truth.
        statistics: The result of ``image_statistics`` for each image.
        judged: The result of ``judge_predictions`` for each image.

    Returns:
        Rows with ``image_id``, ``file_name``, the ``COUNTS`` and the ``SCORES``. ``detections`` are those with at least
        the score threshold, ``hits`` those that are correct (mask IoU above .5 and the class of the true cell).
        true_cells = hits + missed, and detections = hits + spurious. ``wrong_class`` counts those spurious detections
        that have an IoU above .5 with a cell of another class. F1 is 2 hits / (true_cells + detections). In an image
        without true cells, every score is 0 if there are detections, and NaN if there are none.
    """
    rows = []
    for image, ratios, verdicts in zip(document['images'], statistics, judged, strict=True):
        n_true, n_predicted, n_hits = len(verdicts.is_found), len(verdicts.kinds), int(verdicts.is_found.sum())
        counts = (n_true, n_predicted, n_hits, n_true - n_hits, n_predicted - n_hits,
                  int((verdicts.kinds == 'classification').sum()))
        scores = ((2 * n_hits, n_true + n_predicted), *(ratios[name, None] for name in SCORES[1:]))
        rows.append({'image_id': image['id'], 'file_name': image.get('file_name', ''),
                     **dict(zip(COUNTS, counts, strict=True)),
                     **{name: float(numerator / denominator) if denominator else math.nan
                        for name, (numerator, denominator) in zip(SCORES, scores, strict=True)}})
    return rows


def with_average_precision(rows: Sequence[dict], document: dict, detections: list[dict]) -> list[dict]:
    """Returns the rows with AP and AP50 of the masks of each image; they use all detections, whatever their scores.

    In an image without true cells they are NaN, as COCO evaluation has it.

    Args:
        rows: The result of :func:`image_rows`.
        document: COCO ground truth.
        detections: COCO results with compressed RLEs.
    """
    truth, predicted = defaultdict(list), defaultdict(list)
    for records, by_image in ((document['annotations'], truth), (detections, predicted)):
        for record in records:
            by_image[record['image_id']].append(record)
    completed = []
    for row, image in zip(rows, document['images'], strict=True):
        values = {'AP': math.nan, 'AP50': math.nan}
        if truth[image['id']]:
            single = {**document, 'images': [image], 'annotations': truth[image['id']]}
            values = average_precisions(single, predicted[image['id']], kinds=('segm',), caps=(None,), size_bins_px=())
        completed.append({**row, 'AP': values['AP'], 'AP50': values['AP50']})
    return completed


def worst_images(rows: Sequence[dict], n_images: int) -> list[dict]:
    """Returns the images with the lowest F1, the lowest first; among equal ones, those with more mistakes first.

    A mistake is a missed cell or a spurious detection. Images without a mistake are left out.
    """
    with_mistakes = [row for row in rows if row['missed'] + row['spurious']]
    return sorted(with_mistakes, key=lambda row: (row['F1'], -row['missed'] - row['spurious']))[:n_images]


def cell_verdicts(judged: JudgedImage) -> tuple[list[str], list[str]]:
    """Returns what is shown in pictures about N true cells and M predictions.

    Returns:
        N texts 'hit', 'wrong class' or 'missed', and M texts 'hit', 'wrong class' or 'spurious'. A true cell that is
        not found has the verdict 'wrong class' if a prediction of another class has an IoU above .5 with it.
    """
    has_wrong_class = np.zeros(len(judged.is_found), bool)
    has_wrong_class[judged.nearest_true[judged.kinds == 'classification']] = True
    true = np.where(judged.is_found, 'hit', np.where(has_wrong_class, 'wrong class', 'missed'))
    predicted = np.select([judged.kinds == 'correct', judged.kinds == 'classification'], ['hit', 'wrong class'],
                          'spurious')
    return true.tolist(), predicted.tolist()
