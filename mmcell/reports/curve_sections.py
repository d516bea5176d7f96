"""The curves of trainings: losses, learning rate and validation values of several runs in one chart each."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.evaluation.table_formats import ValueTable
from mmcell.reports.charts import Series, axis_over, draw_chart, style_of_run
from mmcell.reports.content import Chart, Section, Table
from mmcell.visualization.training_curves import Training, describe_curve, read_trainings, summarise

# The curves that are drawn as far as they were logged, with a sentence on how they are read.
CURVES = {
    ('losses', 'loss'): 'Loss of the training, in the mean over the last steps.',
    ('losses', 'lr'): 'Learning rate.',
    ('scores', 'AP'): 'AP on the validation images.',
    ('scores', 'AP50'): 'AP50 on the validation images.',
}
# Curves of at most this many values show a dot at each.
_MAX_DOTS = 60


@dataclass(frozen=True)
class Run:
    """What is drawn as one curve: a training, or the trainings of one config with several seeds.

    Attributes:
        name: Its name in keys.
        work_dirs: Its work folders, one per seed.
    """

    name: str
    work_dirs: Sequence[Path]


@dataclass(frozen=True)
class _Curves:
    """The trainings that one curve is drawn from: one, or one per seed."""

    name: str
    trainings: Sequence[Training]


def curve_section(runs: Sequence[Run]) -> Section:
    """Returns the section with the curves of all runs.

    A run of several work folders is drawn as the mean over its seeds, with a band from the least to the greatest value.
    Trainings of one work folder that do not continue each other are curves of their own.

    Args:
        runs: The runs; their colours are those of ``style_of_run``, in this order.

    Raises:
        CurveError: A work folder has no log of a training.
    """
    curves = [part for run in runs for part in _read(run)]
    by_epoch = all(training.epoch_ends for each in curves for training in each.trainings)
    trainings = [training for each in curves for training in each.trainings]
    notes = [remark for training in trainings for remark in training.remarks]
    notes += [note for training in trainings for note in _bad_values(training)]
    if not any(training.scores for training in trainings):
        notes.append('No training was validated: there are no curves of AP.')
    text = ['A training that was resumed is one curve. The large dot is the lowest loss or the best value.']
    if any(len(each.trainings) > 1 for each in curves):
        text.append('Of several seeds, the line is the mean and the band reaches from the least to the greatest value.')
    return Section('curves', 'Training', text, charts=list(_charts(curves, by_epoch)),
                   tables=[Table(_table(curves), texts=('values',))], notes=notes)


def _read(run: Run) -> list[_Curves]:
    """Returns the curves of a run: all trainings of its work folder, or the newest training of each of several."""
    if len(run.work_dirs) > 1:
        return [_Curves(run.name, [read_trainings(folder)[-1] for folder in run.work_dirs])]
    trainings = read_trainings(run.work_dirs[0])
    names = [run.name] if len(trainings) == 1 else [f'{run.name}, training {number}'
                                                    for number in range(1, len(trainings) + 1)]
    return [_Curves(name, [training]) for name, training in zip(names, trainings, strict=True)]


def _charts(curves: Sequence[_Curves], by_epoch: bool) -> Iterator[Chart]:
    for (kind, name), caption in CURVES.items():
        series = [_to_series(each, kind, name, number, by_epoch) for number, each in enumerate(curves)]
        series = [each for each in series if len(each.x)]
        if not series:
            continue
        ends = [value for each in series for values in (each.y, each.low, each.high) for value in values]
        x = axis_over('epoch' if by_epoch else 'step', [place for each in series for place in each.x])
        y = axis_over('learning rate' if name == 'lr' else name, ends)
        title = f'{name} of {", ".join(each.name for each in series)} over {x.label}s'
        yield Chart(draw_chart(series, x, y, title), caption, series if len(series) > 1 else ())


def _to_series(curves: _Curves, kind: str, name: str, number: int, by_epoch: bool) -> Series:
    """Returns one value of a run over its steps; a band if there are several trainings."""
    own = [(training, curve) for training in curves.trainings if (curve := getattr(training, kind).get(name))]
    steps = sorted({step for _, curve in own for step in curve})
    # The finite values of each step. A step at which one of several seeds has none is described by the others.
    known = [[curve[step] for _, curve in own if math.isfinite(curve.get(step, math.nan))] for step in steps]
    means = {step: float(np.mean(values)) if values else math.nan for step, values in zip(steps, known, strict=True)}
    if len(own) > 1:  # a band has no gaps
        steps, known = zip(*((step, values) for step, values in zip(steps, known, strict=True) if values), strict=True)
    best = summarise(kind, name, means).best_step if means else None
    places = own[0][0].epochs_at(steps).tolist() if by_epoch and own else steps
    color, dash = style_of_run(number)
    return Series(curves.name, color, places, [means[step] for step in steps],
                  [min(values) for values in known] if len(own) > 1 else (),
                  [max(values) for values in known] if len(own) > 1 else (),
                  None if best is None else list(steps).index(best), dash,
                  kind == 'scores' and len(steps) <= _MAX_DOTS)


def _bad_values(training: Training) -> Iterator[str]:
    for name, curve in training.losses.items():
        bad_steps = summarise('losses', name, curve).bad_steps
        if bad_steps:
            yield (f'{training.name}: {name} is NaN or infinite {len(bad_steps)} times, first at step '
                   f'{bad_steps[0]:,}; these values are gaps in the curve.')


def _table(curves: Sequence[_Curves]) -> ValueTable:
    """Returns a row per training with its best and last values; of several seeds, in the order of their folders."""
    rows = []
    for name, training in ((each.name, training) for each in curves for training in each.trainings):
        epochs = f' (epoch {max(training.epoch_ends):,})' if training.epoch_ends else ''
        described = [describe_curve(training, kind, value) for kind, value in CURVES
                     if value in getattr(training, kind) and value != 'lr']
        rows.append((name, f'{training.n_steps:,}{epochs}', ' · '.join(described)))
    return ValueTable(['training', 'last step', 'values'], rows, 'best and last values')
