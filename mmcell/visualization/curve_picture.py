"""The picture of the curves of trainings."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmcell.visualization.colors import class_colors
from mmcell.visualization.training_curves import Summary, Training, summarise

# Curves with at most this many points show a dot at each.
_MAX_DOTS = 60


def draw_curves(trainings: Sequence[Training], losses: Sequence[str], scores: Sequence[str],
                by_epoch: bool = False) -> Figure:
    """Draws one panel per value, with one line per training, in the same colour in each panel.

    A triangle marks the lowest loss, a star the best score, a square the last value. Crosses at the lower border are
    values that are NaN or infinite.

    Args:
        trainings: The trainings.
        losses: Names of training values. Names of which a training has no value get no line for this training.
        scores: Names of validation values.
        by_epoch: Whether the axis shows epochs instead of steps; all trainings must count epochs.
    """
    panels = [('losses', name) for name in losses] + [('scores', name) for name in scores]
    n_columns = 1 if len(panels) <= 3 else 2
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(8 * (1 if n_columns == 1 else 1.5), 1 + 3 * n_rows), layout='constrained')
    all_axes = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    colors = np.array(_line_colors(len(trainings))) / 255
    for axes, (kind, name) in zip(all_axes, panels, strict=False):
        for training, color in zip(trainings, colors, strict=True):
            curve = getattr(training, kind).get(name)
            if curve:
                _draw_curve(axes, training, curve, color, summarise(kind, name, curve),
                            '*' if kind == 'scores' else 'v', by_epoch)
        axes.set_ylabel(f"{'training' if kind == 'losses' else 'validation'} {name}")
        if np.isfinite(axes.dataLim.y1):
            bottom, top = min(0, axes.dataLim.y0), max(0, axes.dataLim.y1)
            # The numbers at the best points need room.
            axes.set_ylim(bottom, top + .15 * (top - bottom or 1))
        axes.set_xlim(left=0)
    for axes in all_axes[len(panels):]:
        axes.set_visible(False)
    # The lowest panel of each column.
    for axes in all_axes[:len(panels)][-n_columns:]:
        axes.set_xlabel('epoch' if by_epoch else 'step')
        axes.tick_params(labelbottom=True)
    handles = [Line2D([], [], color=color, label=training.name)
               for training, color in zip(trainings, colors, strict=True)]
    markers = {'v': 'lowest loss', '*': 'best score', 's': 'last value'}
    handles += [Line2D([], [], color='grey', linestyle='', marker=marker, label=label,
                       fillstyle='none' if marker == 's' else 'full')
                for marker, label in markers.items() if marker != '*' or scores]
    figure.legend(handles=handles, loc='outside upper left', ncols=2)
    return figure


def _line_colors(n: int) -> list[tuple[int, int, int]]:
    """Returns n colours that differ and that are dark enough for a white background."""
    dark = [color for color in class_colors(3 * n + 10) if np.dot(color, (.299, .587, .114)) < 175]
    return dark[:n]


def _draw_curve(axes: Axes, training: Training, curve: dict[int, float], color: np.ndarray, summary: Summary,
                best_marker: str, by_epoch: bool) -> None:
    steps = sorted(curve)
    place = dict(zip(steps, training.epochs_at(steps) if by_epoch else steps, strict=True))
    values = np.array([curve[step] if np.isfinite(curve[step]) else np.nan for step in steps])
    # A value without neighbours has no line, and would not be seen without a dot.
    is_gap = np.isnan([np.nan, *values, np.nan])
    has_dot = ~is_gap[1:-1] & ((len(steps) <= _MAX_DOTS) | (is_gap[:-2] & is_gap[2:]))
    axes.plot(list(place.values()), values, '.-', color=color, markevery=has_dot.tolist())
    if np.isfinite(curve[summary.last_step]):
        axes.plot(place[summary.last_step], curve[summary.last_step], 's', color=color, markersize=11,
                  fillstyle='none')
    if summary.best_step is not None:
        best = place[summary.best_step], curve[summary.best_step]
        axes.plot(*best, best_marker, color=color, markersize=10)
        axes.annotate(f'{best[1]:.3g}', best, (0, 9), textcoords='offset points', ha='center', color=color)
    if summary.bad_steps:
        axes.plot([place[step] for step in summary.bad_steps], [.03] * len(summary.bad_steps), 'x', color=color,
                  transform=axes.get_xaxis_transform())
