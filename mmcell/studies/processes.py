"""The commands of a study as processes: one at a time per folder, stopped in time, with their time and memory."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmcell.studies.budget import NO_LIMIT, TimeLimit, is_over

# How long a training may take to save a checkpoint after it was asked to stop, if the study has no budget.
STOP_SECONDS = 120

# Begins the line of a command in the log.
_PROMPT = '$ '

# The commands that this process waits for.
_going: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status; None if it was stopped because the time was over.
        seconds: How long it ran.
        peak_bytes: The greatest memory of the process; 0 if that is not known.
        stop_seconds: The time from the request to stop to its end, or until it was killed; 0 if it was not asked to
            stop.
    """

    status: int | None
    seconds: float = 0.
    peak_bytes: int = 0
    stop_seconds: float = 0.


def call(command: Sequence[str], log: Path, lock: IO, limit: TimeLimit = NO_LIMIT,
         stop: threading.Event | None = None) -> Ended:
    """Runs a command, whose output is appended to a log.

    The command does not get the Ctrl-C of the terminal, which would end a training without a checkpoint, but the signal
    SIGTERM: at ``limit.ask``, after Ctrl-C, and when another thread sets ``stop``. If it has not ended at
    ``limit.kill``, or two minutes after the signal if there is no limit, it is killed with all processes that it
    started.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the command has ended.
    """
    begun = time.monotonic()
    if is_over(limit.ask) or _is_set(stop):
        return Ended(None)
    with open(log, 'ab') as file:
        file.write(f'{_PROMPT}{shlex.join(command)}\n'.encode())
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True, pass_fds=(lock.fileno(),))
        _going.append(process)
        stop_seconds, was_stopped = 0., False
        try:
            status, peak_bytes = _wait(process, limit.ask, stop)
            if status is None:
                was_stopped, asked = True, time.monotonic()
                process.send_signal(signal.SIGTERM)
                status, peak_bytes = _wait(process, time.time() + STOP_SECONDS if limit.kill is None else limit.kill)
                stop_seconds = time.monotonic() - asked
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
    return Ended(None if was_stopped and status != 0 else status, time.monotonic() - begun, peak_bytes, stop_seconds)


def _is_set(stop: threading.Event | None) -> bool:
    return stop is not None and stop.is_set()


def _wait(process: subprocess.Popen, deadline: float | None,
          stop: threading.Event | None = None) -> tuple[int | None, int]:
    """Waits for a process; returns its exit status, or None if it still runs at the deadline, and its peak memory."""
    pause = .01
    while True:
        if process.returncode is not None:  # send_signal has seen the end of the process
            return process.returncode, 0
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
        if is_over(deadline) or _is_set(stop):
            return None, 0
        time.sleep(pause if deadline is None else max(min(pause, deadline - time.time()), 0))
        pause = min(pause * 1.5, .5)


def stop_commands(seconds: float) -> None:
    """Asks the commands of this process to stop, and gives them time to save what they have."""
    for process in _going:
        process.send_signal(signal.SIGTERM)
        _wait(process, time.time() + seconds)


@contextmanager
def locked(path: Path, deadline: float | None) -> Iterator[IO | None]:
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


def describe_failure(status: int, log: Path) -> str:
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
