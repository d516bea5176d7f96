"""The tables and lines that ``tools/evaluate.py`` prints and writes. Values are rounded only here."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mmcell.evaluation.average_precision import size_names
from mmcell.evaluation.evaluation import SWEPT_SCORES, EvaluatedFile
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
# The row below which there is a gap.
LAST_AP = list(HEADLINE).index('AP50@100')
BY_CLASS = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'F_c_pooled')
BY_SIZE = ('AP', 'AP50', 'AP@100', 'AP50@100', 'AR', 'bbox_AP', 'bbox_AP50')


def file_tables(file: EvaluatedFile, size_bins_px: Sequence[float]) -> list[ValueTable]:
    """Returns the tables about one results file: the usual values, the values by class and by size, and the mistakes.

    Args:
        file: The results file with its values.
        size_bins_px: Edges between the size bins of these values, as square roots of areas in px.
    """
    return [headline_table(file), class_table(file), size_table(file, size_bins_px),
            confusion_table(file.evaluation.errors), error_table(file.evaluation.errors)]


def headline_table(file: EvaluatedFile) -> ValueTable:
    """Returns a row per value in ``HEADLINE``, with its interval if there are resampled values."""
    values, intervals = file.evaluation.values, file.evaluation.intervals
    rows = [(name, number_text(values[name]), *([interval_text(intervals[name])] if intervals else []), meaning)
            for name, meaning in HEADLINE.items()]
    return ValueTable(
        ['', 'value', *(['95 % interval'] if intervals else []), MEANING], rows, _title_of_values(file),
        '_pooled: added over all images, then divided; _image_mean: mean over images that define it', LAST_AP)


def _title_of_values(file: EvaluatedFile) -> str:
    return (f"{count(len(file.pairs.truth.image_ids), 'image')}; values below AP50@100 count only detections with "
            f"score >= {file.evaluation.errors['score_threshold']:g}")


def class_table(file: EvaluatedFile) -> ValueTable:
    """Returns a row per class: its cells, and its values in ``BY_CLASS``."""
    truth, values = file.pairs.truth, file.evaluation.values
    n_true, n_predicted = (truth.count_by_class(cells.class_index) for cells in (truth, file.pairs.predictions))
    rows = [(name, str(n_true[name]), str(n_predicted[name]),
             *(number_text(values[f'{value}/{name}']) for value in BY_CLASS)) for name in n_true]
    return ValueTable(['', 'true cells', 'detections', *BY_CLASS], rows, 'by class',
                      'detections and AP: all scores; PQ and F_c: only scores >= '
                      f"{file.evaluation.errors['score_threshold']:g}")


def size_table(file: EvaluatedFile, size_bins_px: Sequence[float]) -> ValueTable:
    """Returns a row for all cells and one per size bin. As in COCO, a cell that is as large as an edge is in two."""
    areas_px, edges = file.pairs.truth.areas_px, [0, *size_bins_px, math.inf]
    counts = [len(areas_px), *(np.count_nonzero((low ** 2 <= areas_px) & (areas_px <= high ** 2))
                               for low, high in pairwise(edges) if size_bins_px)]
    endings = ['', *(f'/{name}' for name in size_names(size_bins_px))]
    values = file.evaluation.values
    rows = [(ending[1:] or 'all', str(n), *(number_text(values[f'{value}{ending}']) for value in BY_SIZE))
            for ending, n in zip(endings, counts, strict=True)]
    return ValueTable(['size', 'true cells', *BY_SIZE], rows, 'by size (square root of area)')


def confusion_table(errors: dict) -> ValueTable:
    """Returns a row per true class, with the number of cells that were predicted as each class, or missed."""
    confusion = errors['confusion']
    rows = [(name, *map(str, counts))
            for name, counts in zip(confusion['rows_true'], confusion['counts'], strict=True)]
    return ValueTable(['true \\ predicted', *confusion['columns_predicted']], rows,
                      f"cells matched at IoU > .5 in label maps, score >= {errors['score_threshold']:g}")


def error_table(errors: dict) -> ValueTable:
    """Returns a row per kind of error, with the F1 that would be reached if only this kind were mended."""
    kinds = errors['error_kinds']
    rows = [(name, str(kind['n']), number_text(kind['F1_if_mended'])) for name, kind in kinds['kinds'].items()]
    return ValueTable(
        ['error', 'number', 'F1 if mended'], rows,
        f"{kinds['n_correct']} of {count(kinds['n_predicted'], 'prediction')} correct, F1 {number_text(kinds['F1'])}",
        'overlapping masks stay whole; missed: no prediction is correct, and no other error is about the cell')


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
    return [*lines, f'scores >= {threshold:g} differ on average by {number_text(error)} from the share of predictions '
                    'that is correct (expected calibration error)']


def sweep_table(swept: dict) -> ValueTable:
    """Returns the table with one row per score threshold, in which the best value of each column is marked."""
    rows = [(f"{row['score_threshold']:.2f}",
             *(number_text(row[name]) + (' *' if swept['best'][name] == row['score_threshold'] else '')
               for name in SWEPT_SCORES)) for row in swept['table']]
    return ValueTable(['score >=', *SWEPT_SCORES], rows, 'score thresholds; * marks the best values',
                      'For validation data. The best values are too optimistic: measure other images at the best '
                      'threshold.')


def comparison_table(compared: dict[str, dict], first: str, second: str) -> ValueTable:
    """Returns the table of the differences of the values in ``HEADLINE``.

    Args:
        compared: The result of :func:`mmcell.evaluation.evaluation.compare`.
        first: The name of the first results file.
        second: The name of the second results file.
    """
    rows = [(name, number_text(compared[name]['first']), number_text(compared[name]['second']),
             number_text(compared[name]['difference'], '+.3f'), interval_text(compared[name]['interval'], '+.3f'))
            for name in HEADLINE]
    return ValueTable(['', 'first', 'second', 'difference', '95 % interval'], rows,
                      f'first: {first}\nsecond: {second}')


def values_table(files: Sequence[EvaluatedFile]) -> ValueTable:
    """Returns the table of the values in ``HEADLINE`` with one column per results file. * marks the best values."""
    rows = []
    for name, meaning in HEADLINE.items():
        row = [file.evaluation.values[name] for file in files]
        best = max((value for value in row if not math.isnan(value)), default=math.nan)
        rows.append((name, *(number_text(value) + (' *' if value == best else '') for value in row), meaning))
    return ValueTable(['', *(file.name for file in files), MEANING], rows,
                      f'{_title_of_values(files[0])}; * marks the best values', None, LAST_AP)


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
    texts = [[number_text(row[name]) if isinstance(row[name], float) else str(row[name]) for name in columns]
             for row in rows]
    return ValueTable([name.replace('_', ' ') for name in columns], texts, title,
                      f'only detections with score >= {score_threshold:g}; hit: mask IoU above .5 and right class; '
                      'wrong class: spurious, but with such an IoU')


def count(number: int, noun: str) -> str:
    """Returns a number with its noun: '1 image', '0 images', '2 images'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number_text(value: float, form: str = '.3f') -> str:
    """Returns a value as tables show it: rounded, or a dash for NaN."""
    return '-' if math.isnan(value) else f'{value:{form}}'


def interval_text(ends: tuple[float, float], form: str = '.3f') -> str:
    """Returns an interval as tables show it: '0.530 to 0.620'."""
    return f'{number_text(ends[0], form)} to {number_text(ends[1], form)}'
