"""Trains and tests the runs of a study as processes of their own, so that a run that fails harms no other."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mmcell.checkpoints.differences import Difference, compare_settings, compare_trainings
from mmcell.commands.shell import ExitStatus
from mmcell.errors import list_some
from mmcell.files.whole_files import written_whole
from mmcell.studies.plan import Run, StudyError, Variant

# How long a training may take to save a checkpoint after it was asked to stop.
STOP_SECONDS = 120
TRAINED = 'trained.json'
# The settings with which a training was tested, by the name of the dump.
TESTED = 'tested.json'
LOG = 'study.log'

# Begins the line of a command in the log.
_PROMPT = '$ '

# The commands that this process waits for.
_going: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        status: 'done', 'failed', or 'stopped' if it was asked to stop or the time was over.
        message: Why it failed; '' otherwise.
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
        deadline: The time (``time.time``) at which a training that is not done is stopped; None for no limit.
    """

    folder: Path
    tools: Path
    train_flags: tuple[str, ...] = ()
    test_flags: tuple[str, ...] = ()
    start: tuple[str, ...] = field(default_factory=lambda: (sys.executable,))
    deadline: float | None = None

    def train(self, run: Run) -> list[str]:
        """Returns the command that trains a run, or continues its training."""
        settings = (*run.variant.options, f'randomness.seed={run.seed}', *_fold_settings(run.fold))
        return [*self.start, str(self.tools / 'train.py'), run.variant.config, '--resume', '--work-dir',
                str(self.folder / run.folder), *self.train_flags, '--cfg-options', *settings]

    def test(self, run: Run, variant: Variant) -> list[str]:
        """Returns the command that predicts the validation images with the training of a run."""
        settings = (*variant.options, *_fold_settings(run.fold))
        return [*self.start, str(self.tools / 'test.py'), variant.config, str(self.folder / run.folder), '--split',
                'val', '--out', str(self.folder / run.predictions_of(variant)), '--work-dir',
                str(self.folder / run.folder / 'tests'), *self.test_flags, *variant.flag_texts,
                *(['--cfg-options', *settings] if settings else [])]


def is_over(deadline: float | None) -> bool:
    """Returns whether a time (``time.time``) has come; None never comes."""
    return deadline is not None and time.time() >= deadline


def _fold_settings(fold: int | None) -> tuple[str, ...]:
    return () if fold is None else (f'fold={fold}',)


def is_done(run: Run, folder: Path) -> bool:
    """Returns whether a run was trained and all its variants were tested."""
    return (folder / run.folder / TRAINED).exists() and all(
        (folder / run.predictions_of(variant)).exists() for variant in run.tested)


def refuse_other_settings(run: Run, commands: Commands) -> None:
    """Stops if the folder of a run holds a finished training, or predictions, with other settings.

    Raises:
        StudyError: The settings, or the flag ``--amp``, differ.
    """
    folder = commands.folder
    path = folder / run.folder / TRAINED
    if path.exists():
        facts = _read_json(path)
        changed = compare_trainings(facts['settings'], _to_plain(run.variant.training_settings))
        precision = [' '.join({'--amp'} & set(flags)) or 'not set'
                     for flags in (facts.get('flags', commands.train_flags), commands.train_flags)]
        if precision[0] != precision[1]:
            changed.append(Difference('--amp', *precision))
        if changed:
            raise StudyError(f'{path.parent} was trained with other settings: {list_some(changed)}. Name another '
                             'folder for this study with --out, or delete that folder to train again')
    tested = _read_json(folder / run.folder / TESTED)
    for variant in run.tested:
        dump = folder / run.predictions_of(variant)
        if dump.exists() and dump.name in tested:
            changed = list(compare_settings(tested[dump.name], _facts_of_test(variant)))
            if changed:
                raise StudyError(f'{dump} was predicted with other settings: {list_some(changed)}. Name another folder '
                                 'for this study with --out, or delete that file to predict again')


def _facts_of_test(variant: Variant) -> object:
    return _to_plain({**variant.prediction_settings, **dict(variant.flags)})


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def _write_json(content: Mapping, path: Path) -> None:
    with written_whole([path]) as (temporary,):
        temporary.write_text(json.dumps(content, indent=1), encoding='utf-8')


def _to_plain(value: object) -> object:
    """Returns nested dicts and lists of JSON's types; other values become texts."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def carry_out(run: Run, commands: Commands) -> Outcome:
    """Trains a run as far as it is not trained, and predicts with those of its variants that have no predictions yet.

    The output of all commands is appended to ``study.log`` in the folder of the run. If another process, for example
    the rest of a study that was killed, still works on the run, it is waited for.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the command that was going on has ended.
    """
    folder = commands.folder / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / '.lock', commands.deadline) as lock:
        if lock is None:
            return Outcome(run, 'stopped')
        if not (folder / TRAINED).exists():
            status, seconds, peak_bytes = _call(commands.train(run), folder / LOG, commands.deadline, lock)
            facts = _add_to_facts(folder, seconds, peak_bytes)
            if status in (None, ExitStatus.PARTLY):  # tools/train.py was asked to stop
                return Outcome(run, 'stopped')
            if status:
                return Outcome(run, 'failed', _describe_failure(status, folder / LOG))
            _write_json({**facts, 'flags': commands.train_flags,
                         'settings': _to_plain(run.variant.training_settings)}, folder / TRAINED)
        return _test(run, commands, lock)


def _test(run: Run, commands: Commands, lock: IO) -> Outcome:
    """Predicts with the variants of a trained run; one that fails does not stop the others."""
    folder = commands.folder / run.folder
    outcome = Outcome(run, 'done')
    for variant in run.tested:
        dump = commands.folder / run.predictions_of(variant)
        if not dump.exists():
            # Before the test, so that no dump is without its settings.
            _write_json({**_read_json(folder / TESTED), dump.name: _facts_of_test(variant)}, folder / TESTED)
            status, _, _ = _call(commands.test(run, variant), folder / LOG, commands.deadline, lock)
            if status is None:
                return Outcome(run, 'stopped')
            if status:
                outcome = Outcome(run, 'failed', _describe_failure(status, folder / LOG))
    return outcome


@contextmanager
def _locked(path: Path, deadline: float | None) -> Iterator[IO | None]:
    """Yields a file that no other process has locked; None if one still has at the deadline.

    The commands inherit the file. The lock therefore lasts as long as this process or one of its commands.
    """
    with open(path, 'ab') as file:
        is_said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if is_over(deadline):
                    yield None
                    return
                if not is_said:
                    print(f'{path.parent}: another process still works here; waiting for its end', flush=True)
                is_said = True
                time.sleep(1)
        yield file


def _add_to_facts(folder: Path, seconds: float, peak_bytes: int) -> dict:
    """Adds the time and the memory of a process to those of the processes that trained the same run before it."""
    path = folder / 'effort.json'
    before = _read_json(path)
    facts = {'seconds': before.get('seconds', 0.) + seconds, 'peak_bytes': max(before.get('peak_bytes', 0), peak_bytes)}
    _write_json(facts, path)
    return facts


def _call(command: Sequence[str], log: Path, deadline: float | None, lock: IO) -> tuple[int | None, float, int]:
    """Runs a command; returns its exit status, its seconds and its peak memory in bytes.

    The status is None if the command was stopped because the time was over. The command does not get the Ctrl-C of the
    terminal, which would end a training without a checkpoint, but the signal SIGTERM.
    """
    begun = time.monotonic()
    if is_over(deadline):
        return None, 0., 0
    with open(log, 'ab') as file:
        file.write(f'{_PROMPT}{shlex.join(command)}\n'.encode())
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True, pass_fds=(lock.fileno(),))
        _going.append(process)
        was_stopped = False
        try:
            status, peak_bytes = _wait(process, deadline)
            if status is None:
                was_stopped = True
                process.send_signal(signal.SIGTERM)
                status, peak_bytes = _wait(process, time.time() + STOP_SECONDS)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            _wait(process, time.time() + STOP_SECONDS)
            raise
        finally:
            if process.returncode is None:
                # Also the processes that it started: workers of data loaders, and those of torchrun.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            _going.remove(process)
    return None if was_stopped and status != 0 else status, time.monotonic() - begun, peak_bytes


def _wait(process: subprocess.Popen, deadline: float | None) -> tuple[int | None, int]:
    """Waits for a process; returns its exit status, or None if it still runs at the deadline, and its peak memory."""
    pause = .01
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
        if is_over(deadline):
            return None, 0
        time.sleep(pause if deadline is None else max(min(pause, deadline - time.time()), 0))
        pause = min(pause * 1.5, .5)


def stop_commands(seconds: float) -> None:
    """Asks the commands of this process to stop, and gives them time to save what they have."""
    for process in _going:
        process.send_signal(signal.SIGTERM)
        _wait(process, time.time() + seconds)


def _describe_failure(status: int, log: Path) -> str:
    """Returns the last message of the newest command in a log, or its last line; or the signal that ended it."""
    lines = [line for line in log.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    begin = max(index for index, line in enumerate(lines) if line.startswith(_PROMPT))
    lines = lines[begin + 1:] or ['no output']
    errors = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    reason = (errors or lines)[-1]
    if status < 0 and not errors:
        memory = ', perhaps because the memory was full' if status == -signal.SIGKILL else ''
        reason = f'ended by the signal {signal.Signals(-status).name}{memory}; last line: {reason}'
    return f'{reason} (all output: {log})'
