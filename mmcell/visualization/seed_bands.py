"""Curves of several trainings of one experiment as one: their mean, and the band from the lowest to the highest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.visualization.training_curves import Training, summarise


@dataclass(frozen=True)
class Band:
    """A curve of several trainings, at the N points where all of them have a value.

    Attributes:
        steps: (N,) float64, ascending. Where the trainings reach a point at different steps, it is the mean step.
        epochs: (N,) float64, the number of epochs that were done; NaN if a training counts only steps.
        mean: (N,) float64, the mean of the trainings. Like the next two, it is NaN where a value is NaN or infinite.
        lowest: (N,) float64, the lowest value of a training.
        highest: (N,) float64, the highest value of a training.
        end: The last step with a value of any training. It is greater than the last of ``steps`` if the trainings have
            different lengths.
    """

    steps: np.ndarray
    epochs: np.ndarray
    mean: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    end: int


@dataclass(frozen=True)
class Experiment:
    """Trainings that are drawn as one curve.

    Attributes:
        label: The text in the legend.
        trainings: At least one training; several trainings become a mean with a band.
    """

    label: str
    trainings: Sequence[Training]


def best_points(trainings: Sequence[Training], kind: str, name: str) -> list[tuple[Training, int, float]]:
    """Returns each training that has a lowest loss or a best score of a name, with the step and the value.

    Args: As in :func:`band_of`.
    """
    points = []
    for training in trainings:
        curve = getattr(training, kind).get(name)
        step = summarise(kind, name, curve, training.lowest_is_best).best_step if curve else None
        if step is not None:
            points.append((training, step, curve[step]))
    return points


def band_of(trainings: Sequence[Training], kind: str, name: str) -> Band | None:
    """Returns a curve of several trainings as one.

    Validations are matched by their epoch, if all trainings count epochs: the folds of a data set may have different
    numbers of steps. All other values are matched by their step. If the trainings have logged at different steps, each
    curve is interpolated linearly at the steps of the first one.

    Args:
        trainings: At least one training.
        kind: 'losses' or 'scores', the attribute of ``Training`` that holds the curves.
        name: The name of the value.

    Returns:
        The curve; None if a training has no such value, or if there is no point where all have one.
    """
    curves = [getattr(training, kind).get(name) for training in trainings]
    if not all(curves):
        return None
    counts_epochs = all(training.epoch_ends for training in trainings)
    if kind == 'scores' and counts_epochs:
        steps, values = _match_epochs(trainings, curves)
    else:
        steps, values = _match_steps(curves)
    if steps.shape[1] == 0:
        return None
    values = np.where(np.isfinite(values).all(axis=0), values, np.nan)
    epochs = np.mean([training.epochs_at(row) for training, row in zip(trainings, steps, strict=True)],
                     axis=0) if counts_epochs else np.full(steps.shape[1], np.nan)
    return Band(steps.mean(axis=0), epochs, values.mean(axis=0), values.min(axis=0), values.max(axis=0),
                max(map(max, curves)))


def _match_epochs(trainings: Sequence[Training], curves: Sequence[dict[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values, both (number of trainings, N) float64, of the epochs that all validated."""
    by_epoch = [{round(epoch): step for epoch, step in zip(training.epochs_at(curve).tolist(), curve, strict=True)}
                for training, curve in zip(trainings, curves, strict=True)]
    common = sorted(set.intersection(*map(set, by_epoch)))
    steps = [[places[epoch] for epoch in common] for places in by_epoch]
    values = [[curve[step] for step in row] for curve, row in zip(curves, steps, strict=True)]
    return np.array(steps, float), np.array(values, float)


def _match_steps(curves: Sequence[dict[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values, both (number of trainings, N) float64, at the steps of the first curve."""
    last = min(map(max, curves))
    logged = [{step for step in curve if step <= last} for curve in curves]
    if all(steps == logged[0] for steps in logged):
        common = sorted(logged[0])
        values = [[curve[step] for step in common] for curve in curves]
    else:
        first = max(map(min, curves))
        common = [step for step in sorted(curves[0]) if first <= step <= last]
        values = [np.interp(common, sorted(curve), [curve[step] for step in sorted(curve)]) for curve in curves]
    return np.tile(np.array(common, float), (len(curves), 1)), np.array(values, float).reshape(len(curves), -1)
