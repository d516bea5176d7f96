"""The table of a study: values of each variant over its seeds, and their differences to the first variant."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import numpy as np

from mmcell.checkpoints.records import read_records
from mmcell.evaluation.bootstrap import percentile_interval
from mmcell.evaluation.table_formats import CHANGES, ValueTable
from mmcell.studies.facts import TRAINED
from mmcell.studies.plan import Variant, differences
from mmcell.visualization.training_curves import read_step_facts

# The columns with values, and the names under which evaluation knows them.
COLUMNS = {'AP': 'AP', 'AP50': 'AP50', 'AP50@100': 'AP50@100', 'PQ': 'PQ_pooled', 'F1': 'F1@IoU.50_pooled'}
COMPARED = 'AP50'
MAX_CHANGES = 3


@dataclass(frozen=True)
class Scores:
    """The values of one variant with one seed.

    Attributes:
        values: Names with values; with folds, of the predictions of all folds together.
        resampled: Names with values on resampled images, (n_resamples,) each. All variants have the same resamples.
        folds: The values of each fold, or ``values`` without folds.
    """

    values: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]
    folds: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Effort:
    """What the trainings of a variant cost; each attribute is None if it is not known.

    Attributes:
        step_seconds: The median time of a step, in the mean over the trainings.
        peak_bytes: The greatest memory that a training needed: of the GPU if there is one, else of the process.
        n_trainable: The number of trainable parameters.
    """

    step_seconds: float | None = None
    peak_bytes: float | None = None
    n_trainable: int | None = None


@dataclass(frozen=True)
class Row:
    """The results of one variant.

    Attributes:
        variant: The variant.
        scores: Its scores by seed, as far as they are there.
        n_runs: The number of its seeds, or seeds and folds, that are predicted.
        effort: What its trainings cost.
    """

    variant: Variant
    scores: Mapping[int, Scores]
    n_runs: int
    effort: Effort


def mean_and_range(row: Row, name: str) -> tuple[float, float, float] | None:
    """Returns the mean over the seeds, and the lowest and the highest value of a seed or fold; None without a seed."""
    if not row.scores:
        return None
    mean = float(np.mean([scores.values[name] for scores in row.scores.values()]))
    # A value is not defined in a fold without a true cell, for example.
    values = [fold[name] for scores in row.scores.values() for fold in scores.folds if not isnan(fold[name])]
    return mean, min(values, default=mean), max(values, default=mean)


def compare_with(first: Row, row: Row, name: str) -> tuple[float, tuple[float, float]] | None:
    """Returns the difference of a value to another variant, and its 95 % interval.

    Only the seeds that both variants have are compared. The interval is the percentile interval of the difference of
    the means over these seeds on the same resampled images: it describes the choice of images, not of seeds.

    Returns:
        The value of ``row`` minus that of ``first``, and the two ends; None if there is no common seed.
    """
    seeds = sorted(first.scores.keys() & row.scores.keys())
    if not seeds:
        return None
    difference = float(np.mean([row.scores[seed].values[name] - first.scores[seed].values[name] for seed in seeds]))
    resampled = [row.scores[seed].resampled[name] - first.scores[seed].resampled[name] for seed in seeds]
    return difference, percentile_interval(np.mean(resampled, axis=0))


def describe_changes(first: Variant, variant: Variant) -> str:
    """Returns in a few words what differs from the first variant; names are cut to their last parts."""
    changes = differences(first, variant)
    shown = [f'{_last_parts(change.name)}: {change.before} → {change.now}' for change in changes[:MAX_CHANGES]]
    return '; '.join(shown + ([f'{len(changes) - MAX_CHANGES} more'] if len(changes) > MAX_CHANGES else []))


def _last_parts(name: str) -> str:
    """Returns the last two words of the name of a setting: 'optimizer.lr', or 'dataset.pipeline.4'."""
    return re.search(r'(?:[^.]+\.)?[^.]+(?:\.\d+)*$', name).group()


def to_records(rows: Sequence[Row], n_planned: int) -> list[dict]:
    """Returns one dict per variant with all its values, not rounded; what is not known is NaN or None."""
    records = []
    for row in rows:
        record = {'name': row.variant.name, 'config': row.variant.config, 'options': list(row.variant.options),
                  'changes': [str(change) for change in differences(rows[0].variant, row.variant)],
                  'n_seeds': len(row.scores), 'n_runs': row.n_runs, 'n_runs_planned': n_planned,
                  'step_seconds': row.effort.step_seconds,
                  'peak_bytes': row.effort.peak_bytes, 'n_trainable': row.effort.n_trainable}
        for column, name in COLUMNS.items():
            mean, low, high = mean_and_range(row, name) or (float('nan'),) * 3
            record |= {column: mean, f'{column}_min': low, f'{column}_max': high}
            compared = None if row is rows[0] else compare_with(rows[0], row, name)
            difference, (low, high) = compared or (float('nan'), (float('nan'),) * 2)
            record |= {f'{column}_difference': difference, f'{column}_difference_low': low,
                       f'{column}_difference_high': high}
        records.append(record)
    return records


def study_tables(rows: Sequence[Row], n_planned: int, n_images: int, score_threshold: float) -> list[ValueTable]:
    """Returns two tables with one row per variant: the values, and what differs from the first variant.

    Args:
        rows: The results of the variants.
        n_planned: The number of runs of each variant: of seeds, times folds.
        n_images: The number of images that were measured.
        score_threshold: The lowest score of the detections that count for PQ and F1.
    """
    headers = ['', 'runs', *COLUMNS, f'{COMPARED} - first', '95 % interval', 's/step', 'GB', 'parameters']
    values = ValueTable(
        headers, [_values_of(rows[0], row, n_planned) for row in rows],
        f'{n_images} images; mean over the seeds, and range over seeds and folds in brackets; PQ and F1 count only '
        f'detections with score >= {score_threshold:g}',
        'The intervals are paired over images: they say how much the choice of images matters, not how much the seed '
        'does.')
    changes = ValueTable(['', CHANGES], [[row.variant.name, describe_changes(rows[0].variant, row.variant)]
                                         for row in rows[1:]], f'what differs from {rows[0].variant.name}')
    return [values, changes] if len(rows) > 1 else [values]


def _values_of(first: Row, row: Row, n_planned: int) -> list[str]:
    compared = None if row is first else compare_with(first, row, COLUMNS[COMPARED])
    effort = row.effort
    return [row.variant.name, f'{row.n_runs}/{n_planned}',
            *(_with_range(mean_and_range(row, name)) for name in COLUMNS.values()),
            '-' if compared is None else f'{compared[0]:+.3f}',
            '-' if compared is None else '{:+.3f} to {:+.3f}'.format(*compared[1]),
            _or_dash(effort.step_seconds, '{:.2f}'), _or_dash(effort.peak_bytes, '{:.1f}', 1e-9),
            _or_dash(effort.n_trainable, '{:.1f} M', 1e-6)]


def _with_range(values: tuple[float, float, float] | None) -> str:
    if values is None:
        return '-'
    mean, low, high = values
    return f'{mean:.3f}' if low == high else f'{mean:.3f} [{low:.3f}, {high:.3f}]'


def _or_dash(value: float | None, form: str, factor: float = 1) -> str:
    return '-' if value is None else form.format(value * factor)


def read_effort(folders: Sequence[Path]) -> Effort:
    """Returns what the trainings in some work folders cost, from their logs, records and ``trained.json``."""
    seconds, memory, parameters = [], [], []
    for folder in folders:
        facts = read_step_facts(folder)
        if facts.step_seconds is not None:
            seconds.append(facts.step_seconds)
        if facts.gpu_bytes is not None:
            memory.append(facts.gpu_bytes)
        elif (folder / TRAINED).exists():
            memory.append(json.loads((folder / TRAINED).read_text())['peak_bytes'])
        parameters += [record.content['parameters']['trainable'] for record in read_records(folder)
                       if 'parameters' in record.content][-1:]
    return Effort(float(np.mean(seconds)) if seconds else None, max(memory, default=None),
                  parameters[0] if parameters else None)
