"""The curves of trainings: losses, learning rate and validation values of several runs in one chart each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcell.checkpoints.seeds import lowest_is_best, read_settings
from mmcell.evaluation.table_formats import ValueTable
from mmcell.reports.charts import Series, axis_over, draw_chart, style_of_run
from mmcell.reports.content import Chart, Section, Table
from mmcell.visualization.seed_bands import Experiment, band_of
from mmcell.visualization.training_curves import Training, describe_curve, read_trainings, summarise

LOSSES = ('loss', 'lr')
SCORES = ('AP', 'AP50')
# Curves of at most this many values show a dot at each, and tables of more trainings are folded.
_MAX_DOTS, _MAX_ROWS = 60, 4


@dataclass(frozen=True)
class Run:
    """What is drawn as one curve: a training, or the trainings of one config with several seeds.

    Attributes:
        name: Its name in keys.
        work_dirs: Its work folders, one per seed.
    """

    name: str
    work_dirs: tuple[Path, ...]


def curve_section(runs: Sequence[Run]) -> Section:
    """Returns the section with the curves of all runs.

    A run of several work folders is drawn as the mean over their newest trainings, with a band from the lowest to the
    highest value. Trainings of one work folder that do not continue each other are curves of their own.

    Args:
        runs: The runs; their colours are those of ``style_of_run``, in this order.

    Raises:
        CurveError: A work folder has no log of a training.
    """
    experiments = [experiment for run in runs for experiment in _read(run)]
    trainings = [training for experiment in experiments for training in experiment.trainings]
    notes = [note for training in trainings for note in (*training.remarks, *_bad_values(training))]
    if not any(training.scores for training in trainings):
        notes.append('Nothing was validated: there are no curves of validation values.')
    text = ['A training that was resumed is one curve. The large dot is the lowest loss or the best value.']
    if any(len(experiment.trainings) > 1 for experiment in experiments):
        text.append('The line of several seeds is their mean; the band reaches from the lowest to the highest of them, '
                    'as far as all of them have values.')
    return Section('curves', 'Training', text, charts=list(_charts(experiments)),
                   tables=[
        Table(_table(experiments), texts=('values',), is_folded=len(trainings) > _MAX_ROWS)], notes=notes)


def _read(run: Run) -> list[Experiment]:
    """Returns what is drawn for a run: all trainings of its work folder, or the newest of each of several folders."""
    trainings = [training for folder in run.work_dirs for training in read_trainings(folder)[
        -1 if len(run.work_dirs) > 1 else 0:]]
    for training in trainings:
        training.lowest_is_best = lowest_is_best(read_settings(training.runs[-1]))
    if len(run.work_dirs) > 1 or len(trainings) == 1:
        return [Experiment(run.name, trainings)]
    return [Experiment(f'{run.name}, training {number}', [training]) for number, training in enumerate(trainings, 1)]


def _charts(experiments: Sequence[Experiment]) -> Iterator[Chart]:
    known = sorted({name for experiment in experiments for training in experiment.trainings
                    for name in training.scores})
    scores = [name for name in SCORES if name in known] or known[:2]
    by_epoch = all(training.epoch_ends for experiment in experiments for training in experiment.trainings)
    captions = {('losses', 'loss'): 'Loss of the training, in the mean over the last steps.',
                **{('scores', name): f'{name} on the validation images.' for name in scores},
                ('losses', 'lr'): 'Learning rate.'}
    for (kind, name), caption in captions.items():
        series = {experiment.label: own for number, experiment in enumerate(experiments)
                  if (own := _series_of(experiment, kind, name, style_of_run(number), by_epoch))}
        if series:
            yield _chart(series, 'learning rate' if name == 'lr' else name, caption, 'epoch' if by_epoch else 'step')


def _chart(series: Mapping[str, Sequence[Series]], name: str, caption: str, unit: str) -> Chart:
    shown = [each for own in series.values() for each in own]
    x = axis_over(unit, [place for each in shown for place in each.x])
    y = axis_over(name, [value for each in shown for values in (each.y, each.low, each.high) for value in values])
    svg = draw_chart(shown, x, y, f'{name} of {", ".join(series)} over {unit}s')
    return Chart(svg, caption, [own[0] for own in series.values()] if len(series) > 1 else ())


def _series_of(experiment: Experiment, kind: str, name: str, style: tuple[str, str], by_epoch: bool) -> list[Series]:
    """Returns the curves of a value: one with a band if there are several trainings, and thin ones beyond its end."""
    own = [(training, curve) for training in experiment.trainings if (curve := getattr(training, kind).get(name))]
    band = band_of(experiment.trainings, kind, name) if len(experiment.trainings) > 1 else None
    if band is None:
        return [_to_series(experiment.label, training, curve, kind, name, style, by_epoch) for training, curve in own]
    mean = band.mean.tolist()
    best = summarise(kind, name, dict(enumerate(mean)), own[0][0].lowest_is_best).best_step
    places = (band.epochs if by_epoch else band.steps).tolist()
    rests = [_to_series(experiment.label, training,
                        {step: value for step, value in curve.items() if step >= band.steps[-1]}, kind, name, style,
                        by_epoch, is_rest=True)
             for training, curve in own if max(curve) > band.steps[-1]]
    return [Series(experiment.label, style[0], places, mean, band.lowest.tolist(), band.highest.tolist(), best,
                   style[1], len(mean) <= _MAX_DOTS and kind == 'scores'), *rests]


def _to_series(label: str, training: Training, curve: Mapping[int, float], kind: str, name: str,
               style: tuple[str, str], by_epoch: bool, is_rest: bool = False) -> Series:
    steps = sorted(curve)
    best = None if is_rest else summarise(kind, name, curve, training.lowest_is_best).best_step
    return Series(label, style[0], training.epochs_at(steps).tolist() if by_epoch else steps,
                  [curve[step] for step in steps], marked=None if best is None else steps.index(best), dash=style[1],
                  has_points=not is_rest and kind == 'scores' and len(steps) <= _MAX_DOTS, is_thin=is_rest)


def _bad_values(training: Training) -> Iterator[str]:
    for name in LOSSES:
        bad_steps = summarise('losses', name, curve).bad_steps if (curve := training.losses.get(name)) else ()
        if bad_steps:
            yield (f'{training.name}: {name} is NaN or infinite {len(bad_steps)} times, first at step '
                   f'{bad_steps[0]:,}; these values are gaps in the curve.')


def _table(experiments: Sequence[Experiment]) -> ValueTable:
    """Returns a row per training with its best and last values; the names of several seeds contain their folders."""
    rows = []
    for label, training in ((each.label if len(each.trainings) == 1 else f'{each.label}: {training.name}', training)
                            for each in experiments for training in each.trainings):
        epochs = f' (epoch {max(training.epoch_ends):,})' if training.epoch_ends else ''
        known = [('losses', 'loss'), *(('scores', name) for name in SCORES if name in training.scores)]
        rows.append((label, f'{training.n_steps:,}{epochs}',
                     ' · '.join(describe_curve(training, kind, name) for kind, name in known)))
    return ValueTable(['training', 'last step', 'values'], rows, 'best and last values')
