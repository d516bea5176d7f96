"""How far the runs of a study are, what is left, and about how long it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import mean

from mmcell.evaluation.table_formats import ValueTable
from mmcell.studies.facts import TRAINED, read_effort_facts
from mmcell.studies.runs import TEST_IMAGES, PlannedTest, Run
from mmcell.studies.times import describe_time
from mmcell.visualization.training_curves import CurveError, Training, read_trainings

SCORE = 'AP50'


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        share: The part of its steps that is done, from 0 to 1.
        length: The length of the whole training, for example '30 epochs'.
        done: What is done, in the same unit: '12.5'.
        seconds: The time that the processes took which worked on it and have ended.
        scores: The validation AP50 by the step before it.
    """

    share: float = 0.
    length: str = ''
    done: str = '0'
    seconds: float = 0.
    scores: tuple[float, ...] = ()

    @property
    def whole_seconds(self) -> float | None:
        """The expected time of the whole training; None if nothing of it was done, or its first process still runs."""
        return self.seconds / self.share if self.share and self.seconds else None


def read_progress(run: Run, folder: Path) -> Progress:
    """Reads from logs how far the training of a run is.

    Args:
        run: The run.
        folder: The folder of the study.
    """
    seconds = read_effort_facts(folder / run.folder).get('seconds', 0.)
    settings = run.variant.settings.get('train_cfg') or {}
    n_epochs, n_steps = settings.get('max_epochs'), settings.get('max_iters')
    length = f'{n_epochs} epochs' if n_epochs else f'{n_steps} steps' if n_steps else 'unknown'
    try:
        training = read_trainings(folder / run.folder)[-1]
    except CurveError:
        return Progress(length=length, seconds=seconds)
    scores = tuple(value for _, value in sorted(training.scores.get(SCORE, {}).items()))
    if (folder / run.folder / TRAINED).exists():
        return Progress(1., length, str(n_epochs or n_steps), seconds, scores)
    done = _epochs_done(training) if n_epochs else training.n_steps
    return Progress(min(done / (n_epochs or n_steps or done), 1.), length, f'{done:.1f}' if n_epochs else f'{done:,}',
                    seconds, scores)


def _epochs_done(training: Training) -> float:
    return float(training.epochs_at([training.n_steps])[0])


def known_test_seconds(test: PlannedTest, folder: Path) -> float | None:
    """Returns how long a test probably takes: as long as the longest one of the study that is most like it.

    Tests with the same settings count first, then tests of the same images, then all. None if none was made.
    """
    seconds: dict[str, float] = {}
    for path in folder.glob('*/*/'):
        for name, value in read_effort_facts(path).get('tests', {}).items():
            seconds[name] = max(value, seconds.get(name, 0.))
    same_images = [value for name, value in seconds.items()
                   if name.startswith(f'{TEST_IMAGES}/') == (test.split == 'test')]
    return seconds.get(test.name) or max(same_images or seconds.values(), default=None)


def known_share_seconds(folder: Path) -> float | None:
    """Returns the most seconds in which weights of a run were written into the folder that is carried.

    None if none were written.
    """
    return max((seconds for path in folder.glob('*/*/')
                if (seconds := read_effort_facts(path).get('share_seconds')) is not None), default=None)


@dataclass(frozen=True)
class Left:
    """What is left of a study.

    Attributes:
        n_trainings: The number of trainings that are not at their end.
        n_tests: The number of tests that were not made.
        seconds: The expected time of all of them, one after the other; None if it cannot be told.
    """

    n_trainings: int
    n_tests: int
    seconds: float | None

    def describe(self, n_jobs: int = 1) -> str:
        """Returns for example '2 trainings and 3 tests are left, about 14 min', if some runs go on at once."""
        parts = ((self.n_trainings, 'training'), (self.n_tests, 'test'))
        counts = [f'{n} {name}{"" if n == 1 else "s"}' for n, name in parts if n]
        verb = 'is' if self.n_trainings + self.n_tests == 1 else 'are'
        n_at_once = max(min(n_jobs, self.n_trainings + self.n_tests), 1)
        time = ('for a time that is not known yet' if self.seconds is None
                else f'about {describe_time(self.seconds / n_at_once)}')
        return f'{" and ".join(counts)} {verb} left, {time}'


def estimate_left(runs: Sequence[Run], folder: Path) -> Left:
    """Estimates what is left from what was done: trainings of the same variant count first, then all trainings."""
    progress = [(run, read_progress(run, folder)) for run in runs]
    whole: dict[str, list[float]] = {}
    for run, own in progress:
        if own.whole_seconds is not None:
            whole.setdefault(run.variant.name, []).append(own.whole_seconds)
    known = [seconds for values in whole.values() for seconds in values]
    trainings = [(1 - own.share) * (own.whole_seconds or mean(whole.get(run.variant.name) or known or [nan]))
                 for run, own in progress if not (folder / run.folder / TRAINED).exists()]
    tests = [known_test_seconds(test, folder) for run in runs for test in run.tests
             if not all((folder / path).exists() for path in test.files)]
    # The time of tests is left out until one was made: it is short beside that of the trainings.
    seconds = sum(trainings) + sum(filter(None, tests))
    return Left(len(trainings), len(tests), None if isnan(seconds) or not (trainings or any(tests)) else seconds)


def progress_table(runs: Sequence[Run], folder: Path) -> ValueTable | None:
    """Returns a table of the trainings that have begun and are not at their end; None if there is none."""
    rows = []
    for run in runs:
        own = read_progress(run, folder)
        if own.share and not (folder / run.folder / TRAINED).exists():
            left = describe_time((1 - own.share) * own.whole_seconds) if own.seconds else '-'
            rows.append([str(run.folder), f'{own.done} of {own.length}', left,
                         *((f'{own.scores[-1]:.3f}', f'{max(own.scores):.3f}') if own.scores else ('-', '-'))])
    if not rows:
        return None
    return ValueTable(['', 'done', 'left', f'last {SCORE}', f'best {SCORE}'], rows,
                      f'trainings that are not at their end, with the {SCORE} of their validations so far',
                      'These values cannot be compared with those of trainings that came to their end.')
