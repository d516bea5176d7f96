"""Reading the losses and validation values of trainings from the files that MMEngine's LocalVisBackend writes."""

import json
import math
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from mmcell.errors import MmcellError
from mmcell.files.text_files import is_integer

# Whole numbers in a record, from 0.
_COUNTS = ('step', 'iter', 'epoch')
_NOT_SCORES = ('step', 'time', 'data_time', 'iter', 'epoch')


class CurveError(MmcellError):
    """There is no such curve; the message gives the curves that there are."""


@dataclass
class Training:
    """The curves of one training, which may have been resumed several times.

    Attributes:
        name: The work folder, and the folder of the first run if the work folder holds several trainings.
        losses: The values that are logged during training, by their names and by the step: the loss, its parts, the
            learning rate and others. Each value is the mean that the log shows; mmcell's configs average 20 steps.
        scores: The values that are measured in validations, by their names and by the last logged step before them.
        epoch_ends: The last logged step of each epoch; empty if the training counts only steps.
        validated: The numbers of the epochs, or of the steps, after which was a validation.
        remarks: What is unusual about the files.
        runs: The folders of the runs, in the order of their start.
        lowest_is_best: The names of the validation values of which the lowest is the best. Those whose names contain
            'loss' always belong to them, as in MMEngine.
    """

    name: str
    losses: dict[str, dict[int, float]] = field(default_factory=dict)
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    epoch_ends: dict[int, int] = field(default_factory=dict)
    validated: set[int] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    lowest_is_best: set[str] = field(default_factory=set)

    @property
    def n_steps(self) -> int:
        """The last step that was logged."""
        return max(self.losses['loss'])

    def epochs_at(self, steps: Iterable[int]) -> np.ndarray:
        """Returns the number of epochs that were done after each of N steps, (N,) float64; 1.5 is within epoch 2."""
        # Epochs of 80, 80 and, so far, 20 steps: the ends [0, 80, 160, 240] are the epochs [0, 1, 2, 3], so that the
        # third epoch is as long as the second. Step 180 is at epoch 2.25.
        epochs = sorted(self.epoch_ends)
        ends = [self.epoch_ends[epoch] for epoch in epochs]
        if len(ends) > 1 and epochs[-1] not in self.validated:
            length = (ends[-2] - (ends[-3] if len(ends) > 2 else 0)) / (1 if len(ends) > 2 else epochs[-2])
            ends[-1] = max(ends[-1], ends[-2] + length)
        return np.interp(list(steps), [0, *ends], [0, *epochs])

    def moment(self, step: int) -> str:
        """Returns when a step was done: 'epoch 3', or 'step 1,200' if the training counts only steps."""
        # The step at the end of an epoch still belongs to this epoch.
        return f'epoch {math.ceil(self.epochs_at([step])[0])}' if self.epoch_ends else f'step {step:,}'


def read_trainings(work_dir: str | Path) -> list[Training]:
    """Reads all runs of a work folder in the order of their start. A resumed run continues the training before it.

    Args:
        work_dir: The work folder of ``tools/train.py``, or the folder of one run in it.

    Returns:
        The trainings; runs that have logged no loss are left out.

    Raises:
        CurveError: No run has logged a loss.
    """
    # The folders of the runs are named after the time of their start.
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json')) or [
        path for path in [Path(work_dir, 'vis_data', 'scalars.json')] if path.exists()]
    trainings: list[Training] = []
    for path in files:
        records, remarks = _read_records(path)
        steps = [record['step'] for record in records if 'loss' in record]
        if not steps:
            continue
        if not trainings or not _is_resumed(path, steps[0], trainings[-1]):
            trainings.append(Training(f'{work_dir} ({path.parents[1].name})'))
        trainings[-1].remarks += remarks
        trainings[-1].runs.append(path.parents[1])
        _append(trainings[-1], records, steps[0])
    if not trainings:
        raise CurveError(f'no training has logged a loss in {work_dir}/*/vis_data/scalars.json (files found: '
                         f'{len(files)}); give the work folder of a training')
    if len(trainings) == 1:
        trainings[0].name = str(work_dir)
    return trainings


@dataclass(frozen=True)
class StepFacts:
    """What the steps of the trainings in a work folder cost.

    Attributes:
        step_seconds: The median time of a step with its loading of data; None if it was not logged.
        gpu_bytes: The greatest memory on a GPU; None if it was not logged, as without a GPU.
    """

    step_seconds: float | None
    gpu_bytes: float | None


def read_step_facts(work_dir: str | Path) -> StepFacts:
    """Reads what MMEngine logged about the steps of all trainings in a work folder."""
    records = [record for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
               for record in _read_records(path)[0] if 'loss' in record]
    seconds, memory = ([record[key] for record in records if key in record] for key in ('time', 'memory'))
    # MMEngine logs the memory in MiB.
    return StepFacts(float(np.median(seconds)) if seconds else None, max(memory) * 2 ** 20 if memory else None)


def _read_records(path: Path) -> tuple[list[dict], list[str]]:
    """Returns the records of a file, and remarks on lines that are not complete, as a kill may leave them."""
    records, bad_lines = [], []
    for number, line in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and _is_count(record.get('step')):
            records.append({name: value for name, value in record.items()
                            if (_is_count if name in _COUNTS else _is_number)(value)})
        elif line.strip('\0 \t'):
            bad_lines.append(number)
    return records, [f'{path}: {len(bad_lines)} lines cannot be read and are left out, first line {first}'
                     for first in bad_lines[:1]]


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (is_integer(value) and abs(value) < 2 ** 63)


def _is_count(value: object) -> bool:
    return is_integer(value) and 0 <= value < 2 ** 53


def _is_resumed(path: Path, first_step: int, before: Training) -> bool:
    """Whether a run continues the training before it, by its config, or else by the steps that it counts."""
    try:
        setting = re.search(r'^resume = (True|False)$', path.with_name('config.py').read_text('utf-8', 'replace'), re.M)
    except OSError:
        setting = None
    return setting[1] == 'True' if setting else first_step > min(before.losses['loss'])


def _append(training: Training, records: Sequence[dict], first_step: int) -> None:
    """Appends the records of a run to its training."""
    # A resumed run repeats some steps: keep only its values for those. Example: the first run has logged the steps 10,
    # 20 and 30, and the resumed run begins with step 20. Only step 10 of the first run is kept.
    for curves in (training.losses, training.scores):
        for name, curve in curves.items():
            curves[name] = {step: value for step, value in curve.items() if step < first_step}
    training.epoch_ends = {epoch: step for epoch, step in training.epoch_ends.items() if step < first_step}
    training.validated = {step for step in training.validated if (
        step in training.epoch_ends if training.epoch_ends else 0 <= step < first_step)}
    last_step = max(training.losses.get('loss', ()), default=0)
    for record in records:
        is_training = 'loss' in record or 'iter' in record
        if is_training:
            last_step = record['step']
            if record.get('epoch'):  # epochs are counted from 1
                training.epoch_ends[record['epoch']] = last_step
        else:
            training.validated.add(record['step'])
        curves = training.losses if is_training else training.scores
        for name in record.keys() - set(_NOT_SCORES):
            curves.setdefault(name, {})[last_step] = record[name]


def refuse_unknown(trainings: Sequence[Training], kind: str, names: Sequence[str], flag: str) -> None:
    """Stops if no training has a curve of one of the names.

    Args:
        trainings: The trainings.
        kind: 'losses' or 'scores', the attribute of ``Training`` that holds the curves.
        names: The names that were asked for.
        flag: The command-line flag that gave the names, for the message.

    Raises:
        CurveError: A name is unknown.
    """
    known = sorted({name for training in trainings for name in getattr(training, kind)})
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, cutoff=.5)
            hint = f'did you mean {" or ".join(near)}? ' if near else ''
            there_are = f'there are {", ".join(known)}' if known else 'nothing was validated'
            raise CurveError(f'{flag} {name}: no training has logged this value; {hint}{there_are}')


@dataclass(frozen=True)
class Summary:
    """The remarkable points of a curve.

    Attributes:
        best_step: The step of the lowest loss or of the best score, the first among equal ones; None if no value is
            finite, or if the values are neither losses nor scores.
        last_step: The step of the last value.
        bad_steps: The steps whose value is NaN or infinite.
    """

    best_step: int | None
    last_step: int
    bad_steps: list[int]


def summarise(kind: str, name: str, curve: dict[int, float], lowest_is_best: Container[str] = ()) -> Summary:
    """Returns the remarkable points of a curve.

    The best score is the one whose checkpoint a training keeps, by the rule of MMEngine's ``CheckpointHook``.

    Args:
        kind: 'losses' or 'scores', the attribute of ``Training`` that holds the curve.
        name: The name of the value. Of the training values, only those are losses whose names contain 'loss'.
        curve: At least one value by its step.
        lowest_is_best: The names of the scores of which the lowest is the best, besides those that contain 'loss'.
    """
    finite = [step for step, value in sorted(curve.items()) if math.isfinite(value)]
    best_step = None
    if 'loss' in name.lower() or (kind == 'scores' and name in lowest_is_best):
        best_step = min(finite, key=curve.get, default=None)
    elif kind == 'scores':
        best_step = max(finite, key=curve.get, default=None)
    return Summary(best_step, max(curve), [step for step, value in sorted(curve.items()) if not math.isfinite(value)])


def describe_curve(training: Training, kind: str, name: str) -> str:
    """Returns a line of text with the best and the last value of a curve, and with values that are no numbers."""
    curve = getattr(training, kind).get(name)
    if not curve:
        return f'{name}: not logged'
    summary = summarise(kind, name, curve, training.lowest_is_best)
    parts = [f'last {_point(training, curve, summary.last_step)}']
    if summary.best_step is not None:
        parts.insert(0, f"{'best' if kind == 'scores' else 'lowest'} {_point(training, curve, summary.best_step)}")
    if summary.bad_steps:
        parts.append(f'NaN or infinite {len(summary.bad_steps)} times, first at step {summary.bad_steps[0]:,}')
    return f'{name}: {"; ".join(parts)}'


def _point(training: Training, curve: dict[int, float], step: int) -> str:
    epoch = f' ({training.moment(step)})' if training.epoch_ends else ''
    return f'{curve[step]:.4g} at step {step:,}{epoch}'
