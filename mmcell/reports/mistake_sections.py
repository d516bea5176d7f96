"""The sections about mistakes: confused classes, kinds of error, and whether scores can be relied on."""

from collections.abc import Sequence

from mmcell.evaluation import tables
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.table_formats import MEANING, ValueTable
from mmcell.reports.charts import Axis, Series, axis_over, draw_chart, style_of_run
from mmcell.reports.content import Chart, Section, Table, tables_of_files
from mmcell.reports.row_charts import draw_bars

# What the kinds of error are, in plain words.
KINDS = {
    'classification': 'right outline (IoU above .5), wrong class',
    'localisation': 'right class, poor outline (IoU from .1 to .5)',
    'both': 'wrong class and poor outline',
    'duplicate': 'a second detection of a cell that is found already',
    'background': 'a detection where no cell is (IoU at most .1)',
    'missed': 'a true cell that no detection points at',
}


def confusion_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the confusion matrix of each results file, tinted by the share of the true cells of a class."""
    shown = []
    for file in files:
        table = tables.confusion_table(file.evaluation.errors)
        shares = [[None, *(count / max(sum(counts), 1) for count in counts)]
                  for counts in file.evaluation.errors['confusion']['counts']]
        # The last row counts spurious detections, which are no true cells of a class.
        shares[-1] = [None] * len(shares[-1])
        shown.append(Table(table, shares=shares))
    return Section('confusion', 'Confused classes', [
        'Each row is a true class: how many of its cells are predicted as each class, or missed. The stronger the '
        'tint, the larger the share of the row. The last row counts detections without a true cell.'],
        tables=tables_of_files([file.name for file in files], shown))


def error_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the kinds of error, and the F1 that mending each kind would bring."""
    kinds = [file.evaluation.errors['error_kinds'] for file in files]
    series = []
    for number, (file, own) in enumerate(zip(files, kinds, strict=True)):
        gains = [own['kinds'][name]['F1_if_mended'] - own['F1'] for name in KINDS]
        series.append(Series(file.name, style_of_run(number)[0], range(len(gains)), gains))
    axis = axis_over('F1', [gain for each in series for gain in each.y])
    chart = Chart(draw_bars(list(KINDS), series, axis, 'gain of F1 if one kind of error were mended'),
                  'How much F1 would gain if only this kind of error were mended. Begin with the longest bar.',
                  series if len(files) > 1 else ())
    shown = []
    for file in files:
        table = tables.error_table(file.evaluation.errors)
        rows = [(*row, KINDS[row[0]]) for row in table.rows]
        shown.append(Table(ValueTable([*table.headers, MEANING], rows, table.title, table.caption)))
    return Section('errors', 'Kinds of error', [
        'F1 counts a cell as found here if a detection of its class has an IoU above .5 with it.', *_lines(files, 0)],
        charts=[chart], tables=tables_of_files([file.name for file in files], shown))


def reliability_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the share of correct detections over their scores."""
    diagonal = Series('score = share', '#808080', [0, 1], [0, 1], dash='4 4')
    curves, counts = [diagonal], []
    for number, file in enumerate(files):
        color, dash = style_of_run(number)
        bins = file.evaluation.errors['reliability']['bins']
        curves.append(Series(file.name, color, [row['mean_score'] for row in bins],
                             [row['precision'] for row in bins], dash=dash, has_points=True))
        counts.append(Series(file.name, color, [row['mean_score'] for row in bins], [row['n'] for row in bins],
                             dash=dash, has_points=True))
    threshold = files[0].evaluation.errors['score_threshold']
    x = Axis('score', 0, 1)
    n_most = axis_over('detections', [n for each in counts for n in each.y])
    return Section('reliability', 'Can scores be relied on?', [
        'If a score were a probability, nine in ten detections with a score of .9 would be correct, and the dots would '
        f'lie on the dashed line. Below it, scores are too high. Only scores of at least {threshold:g} are counted.',
        *_lines(files, 1)], charts=[
        Chart(draw_chart(curves, x, Axis('share of detections that is correct', 0, 1), 'share of correct detections '
                                                                                       'over their scores'),
              'Share of correct detections, in bins of scores.', curves),
        Chart(draw_chart(counts, x, n_most, 'number of detections over their scores'),
              'Number of detections in each bin. Bins with few detections say little.',
              counts if len(files) > 1 else ())])


def _lines(files: Sequence[EvaluatedFile], index: int) -> list[str]:
    """Returns one of the lines that tools/evaluate.py prints about mistakes, for each file."""
    return [f'{file.name}: {tables.error_lines(file.evaluation.errors)[index]}.' for file in files]
