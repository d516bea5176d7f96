"""The sections with values: headline, comparison, precision and recall, classes, sizes, and values of each image."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmcell.evaluation import tables
from mmcell.evaluation.average_precision import RECALLS, precision_curves
from mmcell.evaluation.evaluation import EvaluatedFile, compare
from mmcell.evaluation.per_image import with_average_precision
from mmcell.reports.charts import Axis, Series, axis_over, draw_chart, style_of_run
from mmcell.reports.content import Chart, Section, Table, Tile, tables_of_files
from mmcell.reports.row_charts import draw_intervals
from mmcell.visualization.colors import class_colors, to_hex

# The values in large print, with what each says.
TILES = {
    'AP': 'Are cells found, of the right class and with an exact outline? The mean over ten demands on the overlap, '
          'from an IoU of .50 to .95.',
    'AP50': 'Are cells found and of the right class, if an IoU of .50 is enough?',
    'AP50@100': 'AP50 as on leaderboards, where only the 100 best detections per image and class count. It is far '
                'below AP50 where images have more cells than that.',
    'PQ_pooled': 'Panoptic quality, whatever the class: the F1 of the cells that are found, times the mean IoU of '
                 'their outlines.',
    'mPQ_pooled': 'The same for each class, then the mean over the classes: a cell of the wrong class is a mistake '
                  'twice.',
    'F1@IoU.50_pooled': 'Of all true and predicted cells, the share that has a partner with an IoU of at least .50, '
                        'whatever the class.',
}
# The curves of at most this many classes are drawn; the table has all classes.
_MAX_CURVES = 20
_N_SIZE_BARS = 20


def headline_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the most important values of the first results file, and a table with all values of all files."""
    first = files[0]
    values, intervals = first.evaluation.values, first.evaluation.intervals
    tiles = [Tile(name, tables.number_text(values[name]),
                  tables.interval_text(intervals[name]) if name in intervals else '', meaning)
             for name, meaning in TILES.items()]
    truth, threshold = first.pairs.truth, first.evaluation.errors['score_threshold']
    text = [f"{tables.count(len(truth.rles), 'true cell')} in {tables.count(len(truth.image_ids), 'image')}. AP counts "
            f'all detections; the other values count those with a score of at least {threshold:g}. All values lie '
            'between 0 and 1, and 1 is best.']
    if intervals:
        text.append('Below a value stands its 95 % interval: other images of the same kind would give values in about '
                    'this range. With fewer than 20 images, the true range is wider.')
    if len(files) > 1:
        text.insert(0, f'The large numbers are those of {first.name}.')
    table = tables.headline_table(first) if len(files) == 1 else tables.values_table(files)
    table = replace(table, title=f'all values; {table.title}')
    return Section('headline', 'Values', text, tiles, tables=[Table(table, is_folded=len(files) == 1)],
                   notes=[f'{file.name}: {remark}' for file in files for remark in file.remarks])


def comparison_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the differences of the other results files to the first, with intervals that are paired over images."""
    first, *others = files
    charts, shown = [], []
    for number, other in enumerate(others, start=1):
        differences = compare(other.evaluation, first.evaluation)
        rows = [differences[name] for name in TILES]
        charts.append(Chart(
            draw_intervals(list(TILES), [row['difference'] for row in rows], [row['interval'] for row in rows],
                           style_of_run(number)[0], 'difference',
                           f'differences of {other.name} to {first.name}, with 95 % intervals'),
            f'{other.name} compared with {first.name}: dots to the right of 0 are better than {first.name}.'))
        table = tables.comparison_table(differences, other.name, first.name)
        shown.append(Table(replace(table, headers=['', other.name, first.name, *table.headers[3:]],
                                   title=f'{other.name} minus {first.name}'), is_folded=True))
    return Section('comparison', 'Comparison', [
        f'Each results file is compared with {first.name} on the same images. If an interval contains 0, these images '
        'do not show which of the two is better.'], charts=charts, tables=shown)


def precision_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the curves of precision over recall at an IoU of .50: one chart per file, or per class of several."""
    colors = map(to_hex, class_colors(len(files[0].pairs.truth.class_names)))
    curves = [precision_curves(file.evaluation.mask_matches, file.pairs.truth) for file in files]
    known = [name for name, curve in curves[0].items() if not np.isnan(curve).any()]
    names = known[:_MAX_CURVES]
    left_out = [f'The first {len(names)} of {len(known)} classes are drawn.'] if len(known) > len(names) else []
    color_of = dict(zip(files[0].pairs.truth.class_names, colors, strict=True))
    if len(files) == 1:
        series = [_precision_series(f'{name} (AP50 {_ap50_text(files[0], name)})', color_of[name], '', curves[0][name])
                  for name in names]
        charts = [_precision_chart(series, 'classes', 'One curve per class.')]
    else:
        charts = [_precision_chart(
            [_precision_series(f'{file.name} (AP50 {_ap50_text(file, name)})', *style_of_run(number), own[name])
             for number, (file, own) in enumerate(zip(files, curves, strict=True))], name, f'Class {name}.')
            for name in names]
    return Section('precision', 'Precision and recall', [
        'When the score that is demanded falls, more cells are found (recall, to the right), and a smaller share of '
        'the detections is right (precision, downwards). The area below a curve is AP50 of the class. A curve that '
        'ends early says that cells are not found at any score; one that falls early, that high scores are wrong.',
        *left_out], charts=charts)


def _ap50_text(file: EvaluatedFile, name: str) -> str:
    return tables.number_text(file.evaluation.values[f'AP50/{name}'])


def _precision_series(name: str, color: str, dash: str, curve: np.ndarray) -> Series:
    return Series(name, color, RECALLS.tolist(), curve[0].tolist(), dash=dash)


def _precision_chart(series: Sequence[Series], what: str, caption: str) -> Chart:
    return Chart(draw_chart(series, Axis('recall', 0, 1), Axis('precision', 0, 1),
                            f'precision over recall at IoU .50: {what}'), caption, series)


def class_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the table of the values of each class, one per results file."""
    return Section('classes', 'Classes', ['Values of rare classes depend on a few cells.'], tables=tables_of_files(
        [file.name for file in files], [Table(tables.class_table(file)) for file in files]))


def size_section(files: Sequence[EvaluatedFile], size_bins_px: Sequence[float]) -> Section:
    """Returns how many cells of each size there are and are found, and average precision by size."""
    truth = files[0].pairs.truth
    sizes_px = np.sqrt(truth.areas_px)
    edges = np.linspace(0, max(float(np.quantile(sizes_px, .99)), 1), _N_SIZE_BARS + 1)
    edges[-1] = max(edges[-1], sizes_px.max())
    starts, width = edges[:-1].tolist(), float(edges[1])
    n_true = np.histogram(sizes_px, edges)[0]
    found = [np.histogram(sizes_px[file.evaluation.verdicts.is_found], edges)[0] for file in files]
    x = Axis('size in px (square root of the area)', 0, width * _N_SIZE_BARS)
    counted = [Series('true cells', '#9aa3ad', starts, n_true.tolist()),
               Series(f'found by {files[0].name}', style_of_run(0)[0], starts, found[0].tolist())]
    shares = [Series(file.name, color, [start + width / 2 for start in starts],
                     np.divide(own, n_true, out=np.full(len(own), np.nan), where=n_true > 0).tolist(), dash=dash,
                     has_points=True)
              for file, own, (color, dash) in zip(files, found, map(style_of_run, range(len(files))), strict=True)]
    charts = [
        Chart(draw_chart(counted, x, axis_over('cells', n_true.tolist()), 'true and found cells by size',
                         width), 'True cells by size, and how many of them are found. The last bar also holds the '
                                 'largest hundredth.', counted),
        Chart(draw_chart(shares, x, Axis('share of true cells that is found', 0, 1), 'share found by size'),
              'Share of the true cells of each size that is found. Few cells make it jump.',
              shares if len(files) > 1 else ())]
    return Section('sizes', 'Cells by size', [
        'A cell is found if a detection of its class has an IoU above .5 with it.'], charts=charts,
        tables=tables_of_files([file.name for file in files],
                               [Table(tables.size_table(file, size_bins_px)) for file in files]))


def image_section(files: Sequence[EvaluatedFile]) -> Section:
    """Returns the table of the values of each image, the lowest F1 first."""
    shown = []
    for file in files:
        evaluation = file.evaluation
        rows = sorted(with_average_precision(evaluation.images, file.pairs.truth, evaluation.mask_matches),
                      key=lambda row: (math.isnan(row['F1']), row['F1'], -row['missed'] - row['spurious']))
        table = tables.images_table(rows, 'values of each image, the lowest F1 first',
                                    evaluation.errors['score_threshold'])
        shown.append(Table(table, texts=('file name',), is_folded=True))
    return Section('values-of-images', 'Values of each image', tables=tables_of_files(
        [file.name for file in files], shown))
