"""The tables and lines that ``tools/evaluate.py`` prints. Values are rounded only here."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from mmcell.evaluation.average_precision import size_names
from mmcell.evaluation.evaluation import SWEPT_SCORES, Evaluation

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
MIN_TEXT_WIDTH = 20
BY_CLASS = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'F_c_pooled')
BY_SIZE = ('AP', 'AP50', 'AP@100', 'AP50@100', 'AR', 'bbox_AP', 'bbox_AP50')


def print_whole(console: Console, table: Table) -> None:
    """Prints a table completely, wider than the terminal if necessary, where rich would cut values off."""
    widths = [max(cell_len(str(text)) for text in (column.header, *column.cells)) for column in table.columns]
    # Besides its text, each column needs a space and a divider or an edge.
    needed = sum(2 + (width if column.no_wrap else min(width, MIN_TEXT_WIDTH))
                 for column, width in zip(table.columns, widths, strict=True))
    table.width = needed if needed > console.width else None
    console.print(table, crop=False)


def headline_table(evaluation: Evaluation, n_images: int, score_threshold: float) -> Table:
    """Returns the table of the values that are usually quoted, with their intervals and meanings.

    Args:
        evaluation: The values.
        n_images: The number of images that were measured.
        score_threshold: The lowest score of the detections that count, except for average precision.
    """
    intervals = evaluation.intervals()
    table = _table('', 'value', *(['95 % interval'] if intervals else []), 'meaning',
                   title=f'{n_images} images; values below AP50@100 count only detections with score >= '
                         f'{score_threshold:g}',
                   caption='_pooled: added over all images, then divided; _image_mean: mean over images that define it')
    for name, meaning in HEADLINE.items():
        interval_cells = [_interval(intervals[name])] if intervals else []
        table.add_row(name, _number(evaluation.values[name]), *interval_cells, meaning,
                      end_section=name == 'AP50@100')
    return table


def class_table(evaluation: Evaluation, n_true: dict[str, int], n_predicted: dict[str, int]) -> Table:
    """Returns the table with one row per class.

    Args:
        evaluation: The values.
        n_true: The number of true cells of each class by its name.
        n_predicted: The number of detections of each class by its name, regardless of their scores.
    """
    table = _table('', 'true cells', 'detections', *BY_CLASS, title='by class',
                   caption='detections and AP: all scores; PQ and F_c: only scores >= '
                           f"{evaluation.errors['score_threshold']:g}")
    for name, count in n_true.items():
        table.add_row(name, str(count), str(n_predicted[name]),
                      *(_number(evaluation.values[f'{value}/{name}']) for value in BY_CLASS))
    return table


def size_table(evaluation: Evaluation, document: dict, size_bins_px: Sequence[float]) -> Table:
    """Returns the table with one row for all cells and one row per size bin.

    As in COCO evaluation, a cell whose size is exactly an edge belongs to both bins.

    Args:
        evaluation: The values.
        document: COCO ground truth.
        size_bins_px: Edges between the size bins, as square roots of areas in px.
    """
    table = _table('size', 'true cells', *BY_SIZE, title='by size (square root of area)')
    areas_px = [annotation['area'] for annotation in document['annotations']]
    edges = [0, *size_bins_px, math.inf]
    counts = [len(areas_px), *(sum(low ** 2 <= area <= high ** 2 for area in areas_px)
                               for low, high in pairwise(edges) if size_bins_px)]
    for ending, count in zip(['', *(f'/{name}' for name in size_names(size_bins_px))], counts, strict=True):
        table.add_row(ending[1:] or 'all', str(count),
                      *(_number(evaluation.values[f'{value}{ending}']) for value in BY_SIZE))
    return table


def confusion_table(errors: dict) -> Table:
    """Returns the table of matched cells, with true classes in rows and predicted classes in columns."""
    confusion = errors['confusion']
    table = _table('true \\ predicted', *confusion['columns_predicted'],
                   title=f"cells matched at IoU > .5 in label maps, score >= {errors['score_threshold']:g}")
    for name, counts in zip(confusion['rows_true'], confusion['counts'], strict=True):
        table.add_row(name, *map(str, counts))
    return table


def error_table(errors: dict) -> Table:
    """Returns the table of kinds of error, with the F1 that would be reached if only this kind were mended."""
    kinds = errors['error_kinds']
    table = _table('error', 'number', 'F1 if mended',
                   title=f"{kinds['n_correct']} of {kinds['n_predicted']} predictions correct, "
                         f"F1 {_number(kinds['F1'])}",
                   caption='overlapping masks stay whole; missed: no prediction is correct, and no other error '
                           'is about the cell')
    for name, kind in kinds['kinds'].items():
        table.add_row(name, str(kind['n']), _number(kind['F1_if_mended']))
    return table


def error_lines(errors: dict) -> list[str]:
    """Describes merges, splits and the reliability of scores in one line each."""
    counted = errors['merges_and_splits']
    error = _number(errors['reliability']['expected_calibration_error'])
    return [f"{counted['n_merges']} predictions merge {counted['n_merged_true_cells']} true cells, "
            f"{counted['n_splits']} true cells are split into {counted['n_split_pieces']} predictions",
            f"scores >= {errors['score_threshold']:g} differ on average by {error} from the share of predictions that "
            'is correct (expected calibration error)']


def sweep_table(swept: dict) -> Table:
    """Returns the table with one row per score threshold, in which the best value of each column is marked."""
    table = _table('score >=', *SWEPT_SCORES, title='score thresholds; * marks the best values',
                   caption='For validation data. The best values are too optimistic: measure other images at the best '
                           'threshold.')
    for row in swept['table']:
        threshold = row['score_threshold']
        table.add_row(f'{threshold:.2f}', *(
            _number(row[name]) + (' *' if swept['best'][name] == threshold else '') for name in SWEPT_SCORES))
    return table


def comparison_table(compared: dict[str, dict], first: str, second: str) -> Table:
    """Returns the table of the differences of the values in ``HEADLINE``.

    Args:
        compared: The result of :func:`mmcell.evaluation.evaluation.compare`.
        first: The name of the first results file.
        second: The name of the second results file.
    """
    table = _table('', 'first', 'second', 'difference', '95 % interval',
                   title=f'first: {first}\nsecond: {second}')
    for name in HEADLINE:
        row = compared[name]
        table.add_row(name, _number(row['first']), _number(row['second']), _number(row['difference'], '+.3f'),
                      _interval(row['interval'], '+.3f'))
    return table


def _table(*headers: str, title: str, caption: str | None = None) -> Table:
    """Returns an empty table. The first column is aligned left; only the column "meaning" may be broken into lines."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, header in enumerate(headers):
        is_value = index > 0 and header != 'meaning'
        table.add_column(header, justify='right' if is_value else 'left', no_wrap=header != 'meaning')
    return table


def _number(value: float, form: str = '.3f') -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'


def _interval(ends: tuple[float, float], form: str = '.3f') -> str:
    return f'{_number(ends[0], form)} to {_number(ends[1], form)}'
