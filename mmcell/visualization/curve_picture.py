"""The picture of the curves of trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mmcell.visualization.colors import class_colors
from mmcell.visualization.seed_bands import Band, Experiment, band_of, best_points
from mmcell.visualization.training_curves import Training

# Curves with at most this many points show a dot at each.
_MAX_DOTS = 60
_BAND_ALPHA = .2
# The share of the height of a panel that a number needs.
_MIN_ROOM = .15
# Text stays text in SVG and PDF files, and PDF files contain the font as TrueType, which journals ask for instead of
# Type 3. A fixed salt and no date make the same picture the same file.
_VECTOR_SETTINGS = {'svg.fonttype': 'none', 'svg.hashsalt': 'mmcell', 'pdf.fonttype': 42}
_NO_DATE = {'png': {}, 'svg': {'Date': None}, 'pdf': {'CreationDate': None}}


def draw_curves(experiments: Sequence[Experiment], losses: Sequence[str], scores: Sequence[str],
                by_epoch: bool = False) -> Figure:
    """Draws one panel per value, with one line per experiment, in the same colour in each panel.

    The line of several trainings is their mean, in a band from the lowest to the highest of them, as far as all of them
    have values; the rest of longer trainings is drawn as thin lines. A triangle marks the lowest loss, a star the best
    score of each training, a square the last value. Crosses at the lower border are values that are NaN or infinite.

    Args:
        experiments: The experiments.
        losses: Names of training values. Names of which a training has no value get no line for this training.
        scores: Names of validation values.
        by_epoch: Whether the axis shows epochs instead of steps; all trainings must count epochs.
    """
    panels = [('losses', name) for name in losses] + [('scores', name) for name in scores]
    n_columns = 1 if len(panels) <= 3 else 2
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(8 * (1 if n_columns == 1 else 1.5), 1 + 3 * n_rows), layout='constrained')
    all_axes = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    colors = np.array(_line_colors(len(experiments))) / 255
    for axes, (kind, name) in zip(all_axes, panels, strict=False):
        for experiment, color in zip(experiments, colors, strict=True):
            _draw_experiment(axes, experiment.trainings, kind, name, color, by_epoch)
        axes.set_ylabel(f"{'training' if kind == 'losses' else 'validation'} {name}")
        if np.isfinite(axes.dataLim.y1):
            bottom, top = min(0, axes.dataLim.y0), max(0, axes.dataLim.y1)
            # The numbers at the best points need room.
            axes.set_ylim(bottom, top + _MIN_ROOM * (top - bottom or 1))
        axes.set_xlim(left=0)
    for axes in all_axes[len(panels):]:
        axes.set_visible(False)
    # The lowest panel of each column.
    for axes in all_axes[:len(panels)][-n_columns:]:
        axes.set_xlabel('epoch' if by_epoch else 'step')
        axes.tick_params(labelbottom=True)
    _add_legend(figure, _legend_handles(experiments, colors, bool(scores)))
    return figure


def write_figure(figure: Figure, path: Path, file_format: str) -> None:
    """Writes a figure as 'png', 'svg' or 'pdf'; the same figure gives the same bytes."""
    with rc_context(_VECTOR_SETTINGS):
        figure.savefig(path, format=file_format, dpi=110, metadata=_NO_DATE[file_format])


def _line_colors(n: int) -> list[tuple[int, int, int]]:
    """Returns n colours that differ and that are dark enough for a white background."""
    dark = [color for color in class_colors(3 * n + 10) if np.dot(color, (.299, .587, .114)) < 175]
    return dark[:n]


def _add_legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Adds a legend of two columns, or of one if two are wider than the picture."""
    legend = figure.legend(handles=handles, loc='outside upper left', ncols=2)
    figure.draw_without_rendering()
    if legend.get_window_extent().x1 > figure.bbox.x1:
        legend.remove()
        figure.legend(handles=handles, loc='outside upper left')


def _legend_handles(experiments: Sequence[Experiment], colors: np.ndarray, has_scores: bool) -> list[Line2D | Patch]:
    handles = [Line2D([], [], color=color, label=experiment.label)
               for experiment, color in zip(experiments, colors, strict=True)]
    has_band = any(len(experiment.trainings) > 1 for experiment in experiments)
    if has_band:
        handles.append(Patch(color='grey', alpha=_BAND_ALPHA, linewidth=0,
                             label='band and brackets: lowest to highest'))
    each = ' of each training' if has_band else ''
    markers = {'v': f'lowest loss{each}', '*': f'best score{each}', 's': 'last value'}
    return handles + [Line2D([], [], color='grey', linestyle='', marker=marker, label=label,
                             fillstyle='none' if marker == 's' else 'full')
                      for marker, label in markers.items() if marker != '*' or has_scores]


def _draw_experiment(axes: Axes, trainings: Sequence[Training], kind: str, name: str, color: np.ndarray,
                     by_epoch: bool) -> None:
    """Draws a value of an experiment, as a band if there are several trainings that all have it."""
    curves = [(training, getattr(training, kind)[name]) for training in trainings if getattr(training, kind).get(name)]
    band = band_of(trainings, kind, name) if len(trainings) > 1 else None
    if band is not None:
        _draw_band(axes, band, color, by_epoch)
    for training, curve in curves:
        place = _places(training, curve, by_epoch)
        if band is None:
            _draw_line(axes, place, curve, color)
        elif max(curve) > band.steps[-1]:
            rest = [step for step in place if step >= band.steps[-1]]
            axes.plot([place[step] for step in rest], [curve[step] for step in rest], color=color, linewidth=.7)
    _mark_best(axes, trainings, kind, name, color, by_epoch)
    for training, curve in curves:
        _mark_bad_values(axes, _places(training, curve, by_epoch), curve, color)


def _places(training: Training, curve: Mapping[int, float], by_epoch: bool) -> dict[int, float]:
    """Returns where each step of a curve lies on the axis, in ascending order."""
    steps = sorted(curve)
    return dict(zip(steps, training.epochs_at(steps).tolist() if by_epoch else steps, strict=True))


def _draw_band(axes: Axes, band: Band, color: np.ndarray, by_epoch: bool) -> None:
    places = band.epochs if by_epoch else band.steps
    axes.fill_between(places, band.lowest, band.highest, color=color, alpha=_BAND_ALPHA, linewidth=0)
    _draw_line(axes, dict(enumerate(places.tolist())), dict(enumerate(band.mean.tolist())), color)


def _draw_line(axes: Axes, place: Mapping[int, float], curve: Mapping[int, float], color: np.ndarray) -> None:
    """Draws values as a line, and the last one as a square."""
    values = np.array([curve[step] if np.isfinite(curve[step]) else np.nan for step in place])
    # A value without neighbours has no line, and would not be seen without a dot.
    is_gap = np.isnan([np.nan, *values, np.nan])
    has_dot = ~is_gap[1:-1] & ((len(values) <= _MAX_DOTS) | (is_gap[:-2] & is_gap[2:]))
    axes.plot(list(place.values()), values, '.-', color=color, markevery=has_dot.tolist())
    if np.isfinite(values[-1]):
        axes.plot(place[max(place)], values[-1], 's', color=color, markersize=11, fillstyle='none')


def _mark_best(axes: Axes, trainings: Sequence[Training], kind: str, name: str, color: np.ndarray,
               by_epoch: bool) -> None:
    """Marks the best value of each training, and writes it beside the marks; of several, their mean and range."""
    points = best_points(trainings, kind, name)
    if not points:
        return
    places = [_places(training, {step: value}, by_epoch)[step] for training, step, value in points]
    values = [value for *_, value in points]
    axes.plot(places, values, '*' if kind == 'scores' else 'v', color=color, markersize=10 if len(points) == 1 else 7)
    best = values.index(max(values) if kind == 'scores' else min(values))
    text, place = f'{values[best]:.3g}', places[best]
    if len(points) > 1:
        text = f'{np.mean(values):#.3g} ({min(values):#.3g}–{max(values):#.3g})'
    elif kind == 'scores':
        text += f' ({points[0][0].moment(points[0][1])})'
    # Below a low loss is nothing but the axis; the curve comes from above.
    bottom, top = min(0, axes.dataLim.y0), max(0, axes.dataLim.y1)
    is_below = kind == 'losses' and values[best] - bottom > _MIN_ROOM * (top - bottom)
    axes.annotate(text, (place, values[best]), (0, -9 if is_below else 9), textcoords='offset points', color=color,
                  va='top' if is_below else 'baseline', ha='center' if len(points) == 1 else 'right')


def _mark_bad_values(axes: Axes, place: Mapping[int, float], curve: Mapping[int, float], color: np.ndarray) -> None:
    bad = [place[step] for step in place if not np.isfinite(curve[step])]
    if bad:
        axes.plot(bad, [.03] * len(bad), 'x', color=color, transform=axes.get_xaxis_transform())
