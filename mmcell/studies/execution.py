"""Trains and tests the runs of a study as processes of their own, so that a run that fails harms no other."""

import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from mmcell.checkpoints.differences import Difference, compare_settings, compare_trainings
from mmcell.commands.shell import ExitStatus
from mmcell.errors import MmcellError, list_some
from mmcell.studies.budget import NO_LIMIT, TimeLimit, fits, is_over
from mmcell.studies.dependencies import describe_unfinished, find_unfinished
from mmcell.studies.facts import TESTED, TRAINED, add_test, add_training, read_json, to_plain, write_json
from mmcell.studies.plan import StudyError
from mmcell.studies.processes import call, describe_failure, locked
from mmcell.studies.progress import known_share_seconds, known_test_seconds
from mmcell.studies.runs import PlannedTest, Run
from mmcell.studies.sharing import try_to_share_weights
from mmcell.studies.submissions import make_submission
from mmcell.studies.times import describe_time

LOG = 'study.log'


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        status: 'done', 'failed', or 'stopped' if it was asked to stop or the time was over.
        message: Why it failed, what is left, or what is to be known about its files; '' otherwise.
        has_begun: Whether something was done for it.
    """

    run: Run
    status: str
    message: str = ''
    has_begun: bool = True


@dataclass(frozen=True)
class Commands:
    """How runs are started.

    Attributes:
        folder: The folder of the study.
        tools: The folder of train.py and test.py.
        train_flags: Flags of ``tools/train.py`` beside config, work folder and settings, for example ``--amp``.
        test_flags: Flags of ``tools/test.py``.
        start: The command that starts a Python file: the interpreter, or torchrun with its arguments.
        gpu: The only GPU that the commands may use, as ``CUDA_VISIBLE_DEVICES`` names it; None for all.
        limit: When trainings are stopped, and what has not ended is killed.
        share_bytes: The greatest size of a file with weights in half precision; None for no such files.
    """

    folder: Path
    tools: Path
    train_flags: tuple[str, ...] = ()
    test_flags: tuple[str, ...] = ()
    start: tuple[str, ...] = field(default_factory=lambda: (sys.executable,))
    limit: TimeLimit = NO_LIMIT
    share_bytes: int | None = None
    gpu: str | None = None

    def _begin(self, tool: str) -> list[str]:
        visible = [] if self.gpu is None else ['env', f'CUDA_VISIBLE_DEVICES={self.gpu}']
        return [*visible, *self.start, str(self.tools / tool)]

    def train(self, run: Run) -> list[str]:
        """Returns the command that trains a run, or continues its training."""
        settings = (*run.variant.options, f'randomness.seed={run.seed}', *_fold_settings(run.fold))
        return [*self._begin('train.py'), run.variant.config, '--resume', '--work-dir',
                str(self.folder / run.folder), *self.train_flags, '--cfg-options', *settings]

    def test(self, run: Run, test: PlannedTest) -> list[str]:
        """Returns the command that predicts images with the training of a run."""
        settings = (*test.variant.options, *_fold_settings(run.fold))
        folder = self.folder / run.folder
        return [*self._begin('test.py'), test.variant.config, str(folder), '--split', test.split, '--out',
                str(self.folder / test.dump), '--work-dir', str(folder / 'tests'), *self.test_flags,
                *test.variant.flag_texts, *(['--cfg-options', *settings] if settings else [])]


def _fold_settings(fold: int | None) -> tuple[str, ...]:
    return () if fold is None else (f'fold={fold}',)


def is_done(run: Run, folder: Path) -> bool:
    """Returns whether a run was trained and all its tests were done."""
    return (folder / run.folder / TRAINED).exists() and all(is_tested(test, folder) for test in run.tests)


def is_tested(test: PlannedTest, folder: Path) -> bool:
    """Returns whether all files of a test are there."""
    return all((folder / path).exists() for path in test.files)


def refuse_other_settings(run: Run, commands: Commands) -> None:
    """Stops if the folder of a run holds a finished training, or predictions, with other settings.

    Raises:
        StudyError: The settings, or the flag ``--amp``, differ.
    """
    folder = commands.folder
    path = folder / run.folder / TRAINED
    if path.exists():
        facts = read_json(path)
        changed = compare_trainings(facts['settings'], to_plain(run.variant.training_settings))
        precision = [' '.join({'--amp'} & set(flags)) or 'not set'
                     for flags in (facts.get('flags', commands.train_flags), commands.train_flags)]
        if precision[0] != precision[1]:
            changed.append(Difference('--amp', *precision))
        if changed:
            raise StudyError(f'{path.parent} was trained with other settings: {list_some(changed)}. Name another '
                             'folder for this study with --out, or delete that folder to train again')
    tested = read_json(folder / run.folder / TESTED)
    for test in run.tests:
        dump = folder / test.dump
        if dump.exists() and test.name in tested:
            changed = list(compare_settings(tested[test.name], _facts_of_test(test)))
            if changed:
                raise StudyError(f'{dump} was predicted with other settings: {list_some(changed)}. Name another folder '
                                 'for this study with --out, or delete that file to predict again')


def _facts_of_test(test: PlannedTest) -> object:
    facts = {**test.variant.prediction_settings, **dict(test.variant.flags)}
    if test.split == 'test':
        facts['test images'] = test.variant.settings['test_dataloader']['dataset'].get('ann_file')
    return to_plain(facts)


def carry_out(run: Run, commands: Commands, stop: threading.Event | None = None) -> Outcome:
    """Trains a run as far as it is not trained, and makes the predictions and submissions that are missing.

    The output of all commands is appended to ``study.log`` in the folder of the run. If another process, for example
    the rest of a study that was killed, still works on the run, it is waited for.

    Args:
        run: The run.
        commands: How it is started.
        stop: Another thread sets it to end the run, as if the time were over.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the command that was going on has ended.
    """
    folder = commands.folder / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / TRAINED).exists() and is_over(commands.limit.begin):
        return Outcome(run, 'stopped', has_begun=False)
    with locked(folder / '.lock', commands.limit.ask) as lock:
        if lock is None:
            return Outcome(run, 'stopped')
        # The caller may have looked before another process began that training again.
        needed = find_unfinished(run, commands.folder)
        if needed is not None:
            return Outcome(run, 'stopped', describe_unfinished(needed), has_begun=False)
        if not (folder / TRAINED).exists():
            begun = time.monotonic()
            try:
                ended = call(commands.train(run), folder / LOG, lock, commands.limit, stop)
            except KeyboardInterrupt:
                add_training(folder, time.monotonic() - begun, 0, 0.)
                raise
            facts = add_training(folder, ended.seconds, ended.peak_bytes, ended.stop_seconds)
            if ended.status in (None, ExitStatus.PARTLY):  # tools/train.py was asked to stop
                return Outcome(run, 'stopped')
            if ended.status:
                return Outcome(run, 'failed', describe_failure(ended.status, folder / LOG))
            write_json({**facts, 'flags': commands.train_flags,
                        'settings': to_plain(run.variant.training_settings)}, folder / TRAINED)
        outcome = _test_all(run, commands, lock, stop)
        return _share(outcome, commands)


def _share(outcome: Outcome, commands: Commands) -> Outcome:
    """Writes the weights of a trained run as the study says; returns its outcome, with the message of an error.

    If there is no time for it, the weights are left for the end of the study, or for its next call.
    """
    if commands.share_bytes is None or not fits(known_share_seconds(commands.folder), commands.limit.kill):
        return outcome
    problem = try_to_share_weights(outcome.run, commands.folder, commands.share_bytes)
    if not problem:
        return outcome
    return replace(outcome, status='failed', message='; '.join(filter(None, [outcome.message, problem])))


def _test_all(run: Run, commands: Commands, lock: IO, stop: threading.Event | None) -> Outcome:
    """Makes the tests of a trained run that are missing; one that fails does not stop the others."""
    outcomes = [_test(run, test, commands, lock, stop) for test in run.tests if not is_tested(test, commands.folder)]
    for status in ('failed', 'stopped', 'done'):
        messages = [outcome.message for outcome in outcomes if outcome.status == status]
        if messages:
            return Outcome(run, status, '; '.join(filter(None, messages)))
    return Outcome(run, 'done')


def _describe_left(test: PlannedTest, seconds: float | None, limit: TimeLimit) -> str:
    if seconds is None:
        return f'the test of {test.name} is left'
    needed = ('' if limit.longest is None or seconds <= limit.longest
              else f': it needs a longer budget than this, in which tests of {describe_time(limit.longest)} end')
    return f'the test of {test.name}, which takes about {describe_time(seconds)}, is left{needed}'


def _test(run: Run, test: PlannedTest, commands: Commands, lock: IO, stop: threading.Event | None) -> Outcome:
    """Predicts the images of a test, unless a dump is there, and makes its submission.

    A test cannot be continued. It is therefore left for the next call if it would probably not end in time.
    """
    folder = commands.folder / run.folder
    dump = commands.folder / test.dump
    if not dump.exists():
        seconds = known_test_seconds(test, commands.folder)
        if is_over(commands.limit.ask) or not fits(seconds, commands.limit.kill):
            return Outcome(run, 'stopped', _describe_left(test, seconds, commands.limit))
        # Before the test, so that no dump is without its settings.
        dump.parent.mkdir(exist_ok=True)
        write_json({**read_json(folder / TESTED), test.name: _facts_of_test(test)}, folder / TESTED)
        # A test has nothing to save: it may go on until it would be killed.
        ended = call(commands.test(run, test), folder / LOG, lock,
                     TimeLimit(commands.limit.kill, commands.limit.kill), stop)
        if ended.status == 0 or is_over(commands.limit.kill):
            add_test(folder, test.name, ended.seconds)
        if ended.status is None:
            return Outcome(run, 'stopped', f'the test of {test.name} did not end within {describe_time(ended.seconds)}')
        if ended.status:
            return Outcome(run, 'failed', describe_failure(ended.status, folder / LOG))
    if test.submission is None:
        return Outcome(run, 'done')
    try:
        return Outcome(run, 'done', make_submission(test, commands.folder))
    except MmcellError as error:
        return Outcome(run, 'failed', f'{test.submission}: {error}')
