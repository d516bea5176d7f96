"""What an evaluation prints. Values are rounded here alone."""

import math
from collections.abc import Sequence

from rich.table import Table

from mmcell.evaluation.average_precision import size_names
from mmcell.evaluation.evaluation import SWEPT_SCORES, Evaluation

HEADLINE = {
    'AP': 'masks, IoU .50:.95, mean of classes, every detection',
    'AP50': 'masks, IoU .50, mean of classes, every detection',
    'AP@100': "AP, 100 detections a class and image (COCO's default)",
    'AP50@100': "AP50, 100 detections a class and image (COCO's default)",
    'PQ_pooled': 'panoptic quality, classes ignored, counts of all images added',
    'PQ_image_mean': 'the same, mean over images',
    'mPQ_pooled': 'mean over classes, counts of all images added',
    'mPQ_image_mean': 'mean over images of the mean over their classes',
    'DQ_pooled': 'detection part of PQ',
    'SQ_pooled': 'segmentation part of PQ: mean IoU of matched cells',
    'AJI_pooled': 'aggregated Jaccard index, pixels of all images added',
    'AJI_image_mean': 'the same, mean over images',
    'AJI+_image_mean': 'AJI, every prediction used once, mean over images',
    'Dice_pooled': 'foreground, pixels of all images added',
    'Dice_image_mean': 'the same, mean over images',
    'F1@IoU.50_pooled': 'cells found, classes ignored, IoU .50',
    'F1@IoU.70_pooled': 'the same, IoU .70',
    'F1@IoU.90_pooled': 'the same, IoU .90',
    'F_d_pooled': 'cells found, classes ignored, centroids within 12 px',
}
BY_CLASS = ('AP', 'AP50', 'AP50@100', 'PQ_pooled', 'DQ_pooled', 'SQ_pooled', 'F_c_pooled')
BY_SIZE = ('AP', 'AP50', 'AP@100', 'AP50@100', 'AR', 'bbox_AP', 'bbox_AP50')


def headline_table(evaluation: Evaluation, n_images: int) -> Table:
    """The values that are quoted, with their intervals and what they mean."""
    intervals = evaluation.intervals()
    interval = f'95 % interval, {n_images} images'
    table = Table('', 'value', *([interval] if intervals else []), 'meaning', title='headline')
    for name, meaning in HEADLINE.items():
        shown = [_interval(intervals[name])] if intervals else []
        table.add_row(name, _number(evaluation.values[name]), *shown, meaning)
    return table


def class_table(evaluation: Evaluation, class_names: Sequence[str], n_true: Sequence[int],
                n_predicted: Sequence[int]) -> Table:
    """One row a class.

    Args:
        evaluation: what was measured.
        class_names: in any order.
        n_true: true cells of each class.
        n_predicted: detections of each class, whatever their score.
    """
    table = Table('', 'true cells', 'detections', *BY_CLASS, title='by class')
    for name, *counts in zip(class_names, n_true, n_predicted, strict=True):
        table.add_row(name, *map(str, counts), *(_number(evaluation.values[f'{value}/{name}']) for value in BY_CLASS))
    return table


def size_table(evaluation: Evaluation, document: dict, size_bins_px: Sequence[float]) -> Table:
    """One row for all cells and one a size bin; as in COCO both ends belong to a bin."""
    table = Table('root of area', 'true cells', *BY_SIZE, title='by size')
    areas_px = [annotation['area'] for annotation in document['annotations']]
    edges = [0, *size_bins_px, math.inf]
    counts = [len(areas_px), *(sum(low ** 2 <= area <= high ** 2 for area in areas_px)
                               for low, high in zip(edges, edges[1:], strict=False) if size_bins_px)]
    for ending, count in zip(['', *(f'/{name}' for name in size_names(size_bins_px))], counts, strict=True):
        table.add_row(ending[1:] or 'all', str(count),
                      *(_number(evaluation.values[f'{value}{ending}']) for value in BY_SIZE))
    return table


def confusion_table(errors: dict) -> Table:
    """True classes in rows, predicted ones in columns."""
    confusion = errors['confusion']
    table = Table('true \\ predicted', *confusion['columns_predicted'],
                  title=f"cells matched at IoU > .5, score >= {errors['score_threshold']:g}")
    for name, counts in zip(confusion['rows_true'], confusion['counts'], strict=True):
        table.add_row(name, *map(str, counts))
    table.rows[-1].style = 'dim'
    return table


def error_table(errors: dict) -> Table:
    """Kinds of error, and what mending each alone would make of F1."""
    kinds = errors['error_kinds']
    table = Table('error', 'cells', 'F1 if mended',
                  title=f"{kinds['n_correct']} of {kinds['n_predicted']} predictions right, F1 {_number(kinds['F1'])}")
    for name, kind in kinds['kinds'].items():
        table.add_row(name, str(kind['n']), _number(kind['F1_if_mended']))
    return table


def error_lines(errors: dict) -> list[str]:
    """Merges, splits and the reliability of scores, in words."""
    counted = errors['merges_and_splits']
    error = _number(errors['reliability']['expected_calibration_error'])
    return [f"{counted['n_merges']} predictions join {counted['n_merged_true_cells']} true cells, "
            f"{counted['n_splits']} true cells are cut into {counted['n_split_pieces']} predictions",
            f'scores differ from the part of right predictions by {error} in the mean (expected calibration error)']


def sweep_table(swept: dict) -> Table:
    """One row a score threshold; the best value of each column is marked."""
    table = Table('score >=', *SWEPT_SCORES, title='score threshold, chosen on these images: quote no value of this '
                                                   'table as a result')
    for row in swept['table']:
        threshold = row['score_threshold']
        table.add_row(f'{threshold:.2f}', *(
            _number(row[name]) + (' *' if swept['best'][name] == threshold else '') for name in SWEPT_SCORES))
    return table


def comparison_table(compared: dict[str, dict], first: str, second: str) -> Table:
    """Differences of the headline values."""
    table = Table('', 'first', 'second', 'difference', '95 % interval of the difference',
                  title=f'first: {first}\nsecond: {second}')
    for name in HEADLINE:
        row = compared[name]
        table.add_row(name, _number(row['first']), _number(row['second']), f"{row['difference']:+.3f}",
                      _interval(row['interval'], '+.3f'))
    return table


def _number(value: float, form: str = '.3f') -> str:
    return '-' if math.isnan(value) else f'{value:{form}}'


def _interval(ends: tuple[float, float], form: str = '.3f') -> str:
    return f'{_number(ends[0], form)} to {_number(ends[1], form)}'
