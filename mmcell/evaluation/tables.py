"""What an evaluation prints. Values are rounded here alone."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from mmcell.evaluation.average_precision import size_names
from mmcell.evaluation.evaluation import SWEPT_SCORES, Evaluation

HEADLINE = {
    'AP': 'masks, IoU .50:.95, every detection',
    'AP50': 'masks, IoU .50, every detection',
    'AP@100': 'AP, 100 detections a class and image',
    'AP50@100': 'AP50, the same cap',
    'PQ_pooled': 'panoptic quality, whatever the class',
    'PQ_image_mean': 'the same, mean over images',
    'mPQ_pooled': 'PQ, mean over classes',
    'mPQ_image_mean': 'PQ, mean over classes, then images',
    'DQ_pooled': 'detection part of PQ',
    'SQ_pooled': 'mean IoU of matched cells, part of PQ',
    'AJI_pooled': 'aggregated Jaccard index',
    'AJI_image_mean': 'the same, mean over images',
    'AJI+_image_mean': 'AJI of one-to-one pairs, image mean',
    'Dice_pooled': 'foreground, whatever the instance',
    'Dice_image_mean': 'the same, mean over images',
    'F1@IoU.50_pooled': 'cells found, whatever the class',
    'F1@IoU.70_pooled': 'the same, IoU .70',
    'F1@IoU.90_pooled': 'the same, IoU .90',
    'F_d_pooled': 'cells found, centroids within 12 px',
}
MIN_TEXT_WIDTH = 20
BY_CLASS = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'F_c_pooled')
BY_SIZE = ('AP', 'AP50', 'AP@100', 'AP50@100', 'AR', 'bbox_AP', 'bbox_AP50')


def print_whole(console: Console, table: Table) -> None:
    """Prints a table, wider than the terminal if need be: rich would cut values off."""
    widths = [max(cell_len(str(text)) for text in (column.header, *column.cells)) for column in table.columns]
    # A space and a divider between columns, and an edge on both sides.
    needed = sum(2 + (width if column.no_wrap else min(width, MIN_TEXT_WIDTH))
                 for column, width in zip(table.columns, widths, strict=True))
    table.width = needed if needed > console.width else None
    console.print(table, crop=False)


def headline_table(evaluation: Evaluation, n_images: int, score_threshold: float) -> Table:
    """The values that are quoted, with their intervals and what they mean."""
    intervals = evaluation.intervals()
    table = _table('', 'value', *(['95 % interval'] if intervals else []), 'meaning',
                   title=f'{n_images} images; all below AP50@100 on the detections with score >= {score_threshold:g}',
                   caption='_pooled: summed over all images, then divided; _image_mean: where an image defines it')
    for name, meaning in HEADLINE.items():
        shown = [_interval(intervals[name])] if intervals else []
        table.add_row(name, _number(evaluation.values[name]), *shown, meaning,
                      end_section=name == 'AP50@100')
    return table


def class_table(evaluation: Evaluation, n_true: dict[str, int], n_predicted: dict[str, int]) -> Table:
    """One row a class.

    Args:
        evaluation: what was measured.
        n_true: true cells by class name.
        n_predicted: detections by class name, whatever their score.
    """
    table = _table('', 'true cells', 'detections', *BY_CLASS, title='by class',
                   caption='detections and AP: of every score; PQ, F_c: as above')
    for name, count in n_true.items():
        table.add_row(name, str(count), str(n_predicted[name]),
                      *(_number(evaluation.values[f'{value}/{name}']) for value in BY_CLASS))
    return table


def size_table(evaluation: Evaluation, document: dict, size_bins_px: Sequence[float]) -> Table:
    """One row for all cells and one a size bin; as in COCO a cell on an edge is in both bins."""
    table = _table('size', 'true cells', *BY_SIZE, title='by size (root of area)')
    areas_px = [annotation['area'] for annotation in document['annotations']]
    edges = [0, *size_bins_px, math.inf]
    counts = [len(areas_px), *(sum(low ** 2 <= area <= high ** 2 for area in areas_px)
                               for low, high in pairwise(edges) if size_bins_px)]
    for ending, count in zip(['', *(f'/{name}' for name in size_names(size_bins_px))], counts, strict=True):
        table.add_row(ending[1:] or 'all', str(count),
                      *(_number(evaluation.values[f'{value}{ending}']) for value in BY_SIZE))
    return table


def confusion_table(errors: dict) -> Table:
    """True classes in rows, predicted ones in columns."""
    confusion = errors['confusion']
    table = _table('true \\ predicted', *confusion['columns_predicted'],
                  title=f"cells matched at IoU > .5 in label maps, score >= {errors['score_threshold']:g}")
    for name, counts in zip(confusion['rows_true'], confusion['counts'], strict=True):
        table.add_row(name, *map(str, counts))
    return table


def error_table(errors: dict) -> Table:
    """Kinds of error, and what mending each alone would make of F1."""
    kinds = errors['error_kinds']
    table = _table('error', 'number', 'F1 if mended',
                  title=f"{kinds['n_correct']} of {kinds['n_predicted']} predictions right, F1 {_number(kinds['F1'])}",
                  caption='predictions as they are, overlaps and all; missed: true cells at which no error points')
    for name, kind in kinds['kinds'].items():
        table.add_row(name, str(kind['n']), _number(kind['F1_if_mended']))
    return table


def error_lines(errors: dict) -> list[str]:
    """Merges, splits and the reliability of scores, in words."""
    counted = errors['merges_and_splits']
    error = _number(errors['reliability']['expected_calibration_error'])
    return [f"{counted['n_merges']} predictions join {counted['n_merged_true_cells']} true cells, "
            f"{counted['n_splits']} true cells are cut into {counted['n_split_pieces']} predictions",
            f"of predictions with score >= {errors['score_threshold']:g}, scores differ from the part that is right by "
            f'{error} in the mean (expected calibration error)']


def sweep_table(swept: dict) -> Table:
    """One row a score threshold; the best value of each column is marked."""
    table = _table('score >=', *SWEPT_SCORES, title='score thresholds, * the best on these images',
                   caption='For validation data. The best values are too good: measure other images at this threshold.')
    for row in swept['table']:
        threshold = row['score_threshold']
        table.add_row(f'{threshold:.2f}', *(
            _number(row[name]) + (' *' if swept['best'][name] == threshold else '') for name in SWEPT_SCORES))
    return table


def comparison_table(compared: dict[str, dict], first: str, second: str) -> Table:
    """Differences of the headline values."""
    table = _table('', 'first', 'second', 'difference', '95 % interval',
                  title=f'first: {first}\nsecond: {second}')
    for name in HEADLINE:
        row = compared[name]
        table.add_row(name, _number(row['first']), _number(row['second']), _number(row['difference'], '+.3f'),
                      _interval(row['interval'], '+.3f'))
    return table


def _table(*headers: str, title: str, caption: str | None = None) -> Table:
    """Names on the left, values on the right; of all columns the meaning alone may be broken into lines."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, header in enumerate(headers):
        is_value = index > 0 and header != 'meaning'
        table.add_column(header, justify='right' if is_value else 'left', no_wrap=header != 'meaning')
    return table


def _number(value: float, form: str = '.3f') -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'


def _interval(ends: tuple[float, float], form: str = '.3f') -> str:
    return f'{_number(ends[0], form)} to {_number(ends[1], form)}'
