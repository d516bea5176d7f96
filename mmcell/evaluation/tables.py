"""The tables and lines that ``tools/evaluate.py`` prints and writes. Values are rounded only here."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mmcell.evaluation.average_precision import size_names
from mmcell.evaluation.evaluation import SWEPT_SCORES, Evaluation
from mmcell.evaluation.per_image import COUNTS, SCORES
from mmcell.evaluation.table_formats import MEANING, ValueTable

# What each value means, in at most 36 characters, so that a row fits into 80 columns.
HEADLINE = {
    'AP': 'masks, IoU .50:.95, every detection',
    'AP50': 'masks, IoU .50, every detection',
    'AP@100': 'AP, 100 best per image and class',
    'AP50@100': 'AP50, 100 best per image and class',
    'PQ_pooled': 'panoptic quality, classes ignored',
    'PQ_image_mean': 'PQ, mean over images',
    'mPQ_pooled': 'PQ, mean over classes',
    'mPQ_image_mean': 'PQ, mean over classes, then images',
    'DQ_pooled': 'detection quality, factor of PQ',
    'SQ_pooled': 'mean IoU of matches, factor of PQ',
    'AJI_pooled': 'aggregated Jaccard index',
    'AJI_image_mean': 'AJI, mean over images',
    'AJI+_image_mean': 'AJI, one to one, mean over images',
    'Dice_pooled': 'foreground pixels, cells ignored',
    'Dice_image_mean': 'Dice, mean over images',
    'F1@IoU.50_pooled': 'cells found at IoU .50, any class',
    'F1@IoU.70_pooled': 'cells found at IoU .70, any class',
    'F1@IoU.90_pooled': 'cells found at IoU .90, any class',
    'F_d_pooled': 'cells found, centroids within 12 px',
}
BY_CLASS = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'F_c_pooled')
BY_SIZE = ('AP', 'AP50', 'AP@100', 'AP50@100', 'AR', 'bbox_AP', 'bbox_AP50')


def headline_table(evaluation: Evaluation, n_images: int, score_threshold: float) -> ValueTable:
    """Returns the table of the values that are usually quoted, with their intervals and meanings.

    Args:
        evaluation: The values.
        n_images: The number of images that were measured.
        score_threshold: The lowest score of the detections that count, except for average precision.
    """
    intervals = evaluation.intervals()
    table = ValueTable(
        ['', 'value', *(['95 % interval'] if intervals else []), MEANING],
        title=f"{count(n_images, 'image')}; values below AP50@100 count only detections with score >= "
              f'{score_threshold:g}',
        caption='_pooled: added over all images, then divided; _image_mean: mean over images that define it')
    for name, meaning in HEADLINE.items():
        interval_cells = [_interval(intervals[name])] if intervals else []
        table.add_row(name, _number(evaluation.values[name]), *interval_cells, meaning,
                      end_section=name == 'AP50@100')
    return table


def class_table(evaluation: Evaluation, n_true: dict[str, int], n_predicted: dict[str, int]) -> ValueTable:
    """Returns the table with one row per class.

    Args:
        evaluation: The values.
        n_true: The number of true cells of each class by its name.
        n_predicted: The number of detections of each class by its name, regardless of their scores.
    """
    table = ValueTable(['', 'true cells', 'detections', *BY_CLASS], title='by class',
                       caption='detections and AP: all scores; PQ and F_c: only scores >= '
                               f"{evaluation.errors['score_threshold']:g}")
    for name, count in n_true.items():
        table.add_row(name, str(count), str(n_predicted[name]),
                      *(_number(evaluation.values[f'{value}/{name}']) for value in BY_CLASS))
    return table


def size_table(evaluation: Evaluation, areas_px: np.ndarray, size_bins_px: Sequence[float]) -> ValueTable:
    """Returns the table with one row for all cells and one row per size bin.

    As in COCO evaluation, a cell whose size is exactly an edge belongs to both bins.

    Args:
        evaluation: The values.
        areas_px: (N,) float64, the areas of the true cells.
        size_bins_px: Edges between the size bins, as square roots of areas in px.
    """
    table = ValueTable(['size', 'true cells', *BY_SIZE], title='by size (square root of area)')
    edges = [0, *size_bins_px, math.inf]
    counts = [len(areas_px), *(np.count_nonzero((low ** 2 <= areas_px) & (areas_px <= high ** 2))
                               for low, high in pairwise(edges) if size_bins_px)]
    for ending, count in zip(['', *(f'/{name}' for name in size_names(size_bins_px))], counts, strict=True):
        table.add_row(ending[1:] or 'all', str(count),
                      *(_number(evaluation.values[f'{value}{ending}']) for value in BY_SIZE))
    return table


def confusion_table(errors: dict) -> ValueTable:
    """Returns the table of matched cells, with true classes in rows and predicted classes in columns."""
    confusion = errors['confusion']
    table = ValueTable(['true \\ predicted', *confusion['columns_predicted']],
                       title=f"cells matched at IoU > .5 in label maps, score >= {errors['score_threshold']:g}")
    for name, counts in zip(confusion['rows_true'], confusion['counts'], strict=True):
        table.add_row(name, *map(str, counts))
    return table


def error_table(errors: dict) -> ValueTable:
    """Returns the table of kinds of error, with the F1 that would be reached if only this kind were mended."""
    kinds = errors['error_kinds']
    table = ValueTable(
        ['error', 'number', 'F1 if mended'],
        title=f"{kinds['n_correct']} of {count(kinds['n_predicted'], 'prediction')} correct, F1 {_number(kinds['F1'])}",
        caption='overlapping masks stay whole; missed: no prediction is correct, and no other error is about the cell')
    for name, kind in kinds['kinds'].items():
        table.add_row(name, str(kind['n']), _number(kind['F1_if_mended']))
    return table


def error_lines(errors: dict) -> list[str]:
    """Describes merges, splits and the reliability of scores in one line each."""
    counted = errors['merges_and_splits']
    threshold, error = errors['score_threshold'], errors['reliability']['expected_calibration_error']
    n_merges, n_splits = counted['n_merges'], counted['n_splits']
    lines = [f"{count(n_merges, 'prediction')} merge{'s' if n_merges == 1 else ''} "
             f"{count(counted['n_merged_true_cells'], 'true cell')}, {count(n_splits, 'true cell')} "
             f"{'is' if n_splits == 1 else 'are'} split into {count(counted['n_split_pieces'], 'prediction')}"]
    if math.isnan(error):
        return [*lines, f'no detection has a score >= {threshold:g}: whether scores are reliable cannot be said']
    return [*lines, f'scores >= {threshold:g} differ on average by {_number(error)} from the share of predictions that '
                    'is correct (expected calibration error)']


def sweep_table(swept: dict) -> ValueTable:
    """Returns the table with one row per score threshold, in which the best value of each column is marked."""
    table = ValueTable(['score >=', *SWEPT_SCORES], title='score thresholds; * marks the best values',
                       caption='For validation data. The best values are too optimistic: measure other images at the '
                               'best threshold.')
    for row in swept['table']:
        threshold = row['score_threshold']
        table.add_row(f'{threshold:.2f}', *(
            _number(row[name]) + (' *' if swept['best'][name] == threshold else '') for name in SWEPT_SCORES))
    return table


def comparison_table(compared: dict[str, dict], first: str, second: str) -> ValueTable:
    """Returns the table of the differences of the values in ``HEADLINE``.

    Args:
        compared: The result of :func:`mmcell.evaluation.evaluation.compare`.
        first: The name of the first results file.
        second: The name of the second results file.
    """
    table = ValueTable(['', 'first', 'second', 'difference', '95 % interval'],
                       title=f'first: {first}\nsecond: {second}')
    for name in HEADLINE:
        row = compared[name]
        table.add_row(name, _number(row['first']), _number(row['second']), _number(row['difference'], '+.3f'),
                      _interval(row['interval'], '+.3f'))
    return table


def values_table(values_by_name: dict[str, dict[str, float]], n_images: int, score_threshold: float) -> ValueTable:
    """Returns the table of the values in ``HEADLINE`` with one column per results file. * marks the best values.

    Args:
        values_by_name: The values of each results file, by the header of its column.
        n_images: The number of images that were measured.
        score_threshold: The lowest score of the detections that count, except for average precision.
    """
    table = ValueTable(['', *values_by_name, MEANING],
                       title=f"{count(n_images, 'image')}; values below AP50@100 count only detections with score >= "
                             f'{score_threshold:g}; * marks the best values')
    for name, meaning in HEADLINE.items():
        row = [values[name] for values in values_by_name.values()]
        best = max((value for value in row if not math.isnan(value)), default=math.nan)
        table.add_row(name, *(_number(value) + (' *' if value == best else '') for value in row), meaning,
                      end_section=name == 'AP50@100')
    return table


def images_table(rows: Sequence[dict], title: str, score_threshold: float,
                 scores: Sequence[str] = (*SCORES, 'AP', 'AP50')) -> ValueTable:
    """Returns the table with one row per image.

    Args:
        rows: Rows of :func:`mmcell.evaluation.per_image.image_rows`. A row may also have the key ``results``, the name
            of a results file, and AP and AP50.
        title: The title of the table.
        score_threshold: The lowest score of the detections that count, except for average precision.
        scores: The scores that are shown, as far as the rows have them.
    """
    columns = [name for name in ('results', 'image_id', 'file_name', *COUNTS, *scores)
               if any(name in row for row in rows)]
    table = ValueTable([name.replace('_', ' ') for name in columns], title=title,
                       caption=f'only detections with score >= {score_threshold:g}; hit: mask IoU above .5 and right '
                               'class; wrong class: spurious, but with such an IoU')
    for row in rows:
        table.add_row(*(_number(row[name]) if isinstance(row[name], float) else str(row[name]) for name in columns))
    return table


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: '1 image', '0 images', '2 images'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _number(value: float, form: str = '.3f') -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'


def _interval(ends: tuple[float, float], form: str = '.3f') -> str:
    return f'{_number(ends[0], form)} to {_number(ends[1], form)}'
