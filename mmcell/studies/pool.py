"""Carries out the runs of a study in this process, in several processes of this machine, or as jobs of Slurm.

Processes and jobs are those of submitit.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mmcell.settings.options import parse_value
from mmcell.studies.execution import STOP_SECONDS, Commands, Outcome, carry_out, is_over, stop_commands
from mmcell.studies.plan import Run, StudyError

if TYPE_CHECKING:
    from submitit import Executor, Job

POLL_SECONDS = 1
# Jobs without a time budget may take as long as this.
MAX_MINUTES = 7 * 24 * 60


def carry_out_all(runs: Sequence[Run], commands: Commands, n_jobs: int, slurm: Sequence[str] | None = None,
                  gpus: Sequence[int] = (), on_begin: Callable[[Run], None] = lambda run: None) -> Iterator[Outcome]:
    """Carries out runs, up to ``n_jobs`` of them at the same time, and yields the outcome of each when it has ended.

    Runs that have not begun when the time is over are yielded as stopped. If the generator is closed, or Ctrl-C ends
    it, the runs that go on are told to stop: their trainings save a checkpoint.

    Args:
        runs: The runs that are not done.
        commands: How they are started.
        n_jobs: How many go on at the same time.
        slurm: None for this machine. Else the runs are jobs of Slurm, with these parameters, KEY=VALUE, of submitit's
            ``AutoExecutor``.
        gpus: The numbers of the GPUs of this machine, which the runs get in turn if several go on at the same time.
        on_begin: Called with each run when it begins.

    Raises:
        StudyError: submitit does not know a parameter, or there is no Slurm.
    """
    if n_jobs == 1 and slurm is None:
        for run in runs:
            if is_over(commands.deadline):
                yield Outcome(run, 'stopped', has_begun=False)
            else:
                on_begin(run)
                yield carry_out(run, commands)
        return
    executor = _make_executor(commands, slurm)
    waiting, free = list(runs)[::-1], list(range(n_jobs))[::-1]
    going: dict[int, tuple[Run, Job]] = {}
    try:
        while waiting or going:
            if is_over(commands.deadline):
                # Jobs may wait in the queue of Slurm for longer than the budget.
                queued = [place for place, (_, job) in going.items() if job.state == 'PENDING']
                for place in queued:
                    run, job = going.pop(place)
                    job.cancel(check=False)
                    waiting.append(run)
                yield from (Outcome(waiting.pop(), 'stopped', has_begun=False) for _ in list(waiting))
            while waiting and free:
                place, run = free.pop(), waiting.pop()
                on_begin(run)
                if slurm is None and gpus:
                    executor.update_parameters(gpus_per_node=1, visible_gpus=[gpus[place % len(gpus)]])
                going[place] = run, executor.submit(RunJob(), run, commands)
            for place, (run, job) in list(going.items()):
                if job.done():
                    del going[place]
                    free.append(place)
                    yield _outcome_of(run, job)
            if going:
                time.sleep(POLL_SECONDS)
    finally:
        _stop([job for _, job in going.values()])


def _make_executor(commands: Commands, slurm: Sequence[str] | None) -> 'Executor':
    import submitit
    seconds = MAX_MINUTES * 60 if commands.deadline is None else commands.deadline - time.time() + 2 * STOP_SECONDS
    minutes = math.ceil(max(seconds, 60) / 60)
    if slurm is None:
        # Not AutoExecutor, which does not pass visible_gpus on.
        executor = submitit.LocalExecutor(commands.folder / 'jobs')
        executor.update_parameters(timeout_min=minutes)
        return executor
    parameters = {'timeout_min': minutes, 'name': 'mmcell-study', **dict(map(_parse_parameter, slurm))}
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


def _outcome_of(run: Run, job: object) -> Outcome:
    error = job.exception()
    return job.result() if error is None else Outcome(run, 'failed', str(error).strip().splitlines()[-1])


def _stop(jobs: 'Sequence[Job]') -> None:
    for job in jobs:
        job.cancel(check=False)
    end = time.monotonic() + STOP_SECONDS
    while time.monotonic() < end and not all(job.done() for job in jobs):
        time.sleep(.2)
