"""Carries out the runs of a study one after the other, several at once on this machine, or as jobs of Slurm."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from mmcell.settings.options import parse_value
from mmcell.studies.budget import is_over
from mmcell.studies.dependencies import describe_unfinished, find_unfinished
from mmcell.studies.execution import Commands, Outcome, carry_out
from mmcell.studies.plan import StudyError
from mmcell.studies.processes import STOP_SECONDS, stop_commands
from mmcell.studies.runs import Run

if TYPE_CHECKING:
    from submitit import Executor, Job

POLL_SECONDS = 1
# Jobs without a time budget may take as long as this.
MAX_MINUTES = 7 * 24 * 60


def carry_out_all(runs: Sequence[Run], commands: Commands, n_jobs: int, slurm: Sequence[str] | None = None,
                  gpus: Sequence[str] = (), on_begin: Callable[[Run], None] = lambda run: None) -> Iterator[Outcome]:
    """Carries out runs, up to ``n_jobs`` of them at the same time, and yields the outcome of each when it has ended.

    A run that needs the training of another one begins when that has come to its end, and is yielded as stopped if it
    does not. Runs that have not begun when the time is over are yielded as stopped. If the generator is closed, or
    Ctrl-C ends it, the runs that go on are told to stop: their trainings save a checkpoint.

    Args:
        runs: The runs that are not done.
        commands: How they are started.
        n_jobs: How many go on at the same time.
        slurm: None for this machine. Else the runs are jobs of Slurm, with these parameters, KEY=VALUE, of submitit's
            ``AutoExecutor``.
        gpus: The GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them, which the runs get in turn if several
            go on at the same time.
        on_begin: Called with each run when it begins.

    Raises:
        StudyError: submitit does not know a parameter, or there is no Slurm.
    """
    if slurm is not None:
        yield from _submit_all(runs, commands, n_jobs, slurm, on_begin)
    elif n_jobs > 1:
        yield from _carry_out_at_once(runs, commands, n_jobs, gpus, on_begin)
    else:
        waiting = list(runs)
        while not is_over(commands.limit.ask) and (run := _take_ready(waiting, commands)) is not None:
            on_begin(run)
            yield carry_out(run, commands)
        yield from _leave(waiting, commands)


def _take_ready(waiting: list[Run], commands: Commands) -> Run | None:
    """Removes the first run that can begin from a list, and returns it; None if all need trainings that go on."""
    for place, run in enumerate(waiting):
        if find_unfinished(run, commands.folder) is None:
            return waiting.pop(place)
    return None


def _leave(waiting: list[Run], commands: Commands) -> Iterator[Outcome]:
    """Yields the outcomes of runs that do not begin, and removes them from their list."""
    for run in list(waiting):
        needed = find_unfinished(run, commands.folder)
        waiting.remove(run)
        yield Outcome(run, 'stopped', '' if needed is None else describe_unfinished(needed), has_begun=False)


def _carry_out_at_once(runs: Sequence[Run], commands: Commands, n_jobs: int, gpus: Sequence[str],
                       on_begin: Callable[[Run], None]) -> Iterator[Outcome]:
    """Carries out several runs at once on this machine: one thread waits for the commands of each."""
    waiting, free = list(runs), list(range(n_jobs))[::-1]
    going: dict[Future, tuple[int, Run]] = {}
    stop = threading.Event()
    # When the block ends, it waits for the threads.
    with ThreadPoolExecutor(n_jobs) as threads:
        try:
            while waiting or going:
                if is_over(commands.limit.ask):
                    yield from _leave(waiting, commands)
                while free and (run := _take_ready(waiting, commands)) is not None:
                    place = free.pop()
                    own = replace(commands, gpu=gpus[place % len(gpus)]) if gpus else commands
                    on_begin(run)
                    going[threads.submit(carry_out, run, own, stop)] = place, run
                if not going:
                    yield from _leave(waiting, commands)
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    place, run = going.pop(future)
                    free.append(place)
                    yield _outcome_of(run, future)
        finally:
            stop.set()


def _submit_all(runs: Sequence[Run], commands: Commands, n_jobs: int, slurm: Sequence[str],
                on_begin: Callable[[Run], None]) -> Iterator[Outcome]:
    """Carries out runs as jobs of Slurm, up to ``n_jobs`` of them at the same time."""
    executor = _make_executor(commands, slurm)
    waiting = list(runs)
    going: list[tuple[Run, Job]] = []
    try:
        while waiting or going:
            if is_over(commands.limit.ask):
                # Jobs may wait in the queue of Slurm for longer than the budget.
                queued = [(run, job) for run, job in going if job.state == 'PENDING']
                for run, job in queued:
                    going.remove((run, job))
                    job.cancel(check=False)
                    waiting.append(run)
                yield from _leave(waiting, commands)
            while len(going) < n_jobs and (run := _take_ready(waiting, commands)) is not None:
                on_begin(run)
                going.append((run, executor.submit(RunJob(), run, commands)))
            if not going:
                yield from _leave(waiting, commands)
            for run, job in [(run, job) for run, job in going if job.done()]:
                going.remove((run, job))
                yield _outcome_of(run, job)
            if going:
                time.sleep(POLL_SECONDS)
    finally:
        _stop([job for _, job in going])


def _make_executor(commands: Commands, slurm: Sequence[str]) -> 'Executor':
    import submitit
    seconds = (MAX_MINUTES * 60 if commands.limit.kill is None
               else commands.limit.kill - time.time() + STOP_SECONDS)
    parameters = {'timeout_min': math.ceil(max(seconds, 60) / 60), 'name': 'mmcell-study',
                  **dict(map(_parse_parameter, slurm))}
    try:
        executor = submitit.AutoExecutor(commands.folder / 'jobs', cluster='slurm')
        executor.update_parameters(**parameters)
    # submitit raises NameError for unknown parameters, and others for wrong values or without Slurm.
    except (NameError, ValueError, TypeError, AssertionError, RuntimeError) as error:
        raise StudyError(f'--launcher slurm: {str(error).splitlines()[0]}') from error
    return executor


class RunJob:
    """The job of one run. A job of Slurm that is ended before its time is put into the queue again, and continues."""

    def __call__(self, run: Run, commands: Commands) -> Outcome:
        """Carries out the run."""
        return carry_out(run, commands)

    def checkpoint(self, run: Run, commands: Commands) -> object:
        """Returns the job that continues this one, after the training has saved a checkpoint."""
        stop_commands(STOP_SECONDS)
        from submitit.helpers import DelayedSubmission
        return DelayedSubmission(self, run, commands)


def _parse_parameter(text: str) -> tuple[str, object]:
    key, _, value = text.partition('=')
    if not key or not value:
        raise StudyError(f'--slurm takes KEY=VALUE, for example slurm_partition=gpu, got {text}')
    return key, parse_value(value)


def _outcome_of(run: Run, job: 'Future | Job') -> Outcome:
    error = job.exception()
    return job.result() if error is None else Outcome(run, 'failed', (str(error).strip().splitlines() or [''])[-1])


def _stop(jobs: 'Sequence[Job]') -> None:
    for job in jobs:
        job.cancel(check=False)
    end = time.monotonic() + STOP_SECONDS
    while time.monotonic() < end and not all(job.done() for job in jobs):
        time.sleep(.2)
