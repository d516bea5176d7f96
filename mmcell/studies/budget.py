"""When the parts of a study with a time budget must end, so that the whole command ends in time."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmcell.studies.facts import read_effort_facts, read_json, write_json

# Where a study keeps how long the parts of its end took.
TIMES = 'times.json'
# The part of the budget that is kept for the tables, and for the stop of a training, until both were measured once; and
# the most seconds that are kept then. On GPUs both take a few seconds.
FIRST_SHARE, FIRST_SECONDS = .1, 45.
# What was measured once is taken to last so much longer the next time.
MARGIN = 1.5
# The same for tests, which are long, and therefore more alike.
TEST_MARGIN = 1.25
LEAST_SECONDS = 2.
# A training needs about so long for its first step, mostly for imports.
START_SHARE, START_SECONDS = .05, 25.


@dataclass(frozen=True)
class TimeLimit:
    """The times of a study with a budget, as ``time.time`` counts them; all are None if there is none.

    Attributes:
        ask: Trainings are asked to save a checkpoint and to end, and nothing begins any more.
        kill: What has not ended is killed: a training that did not stop, or a test.
        end: The study has written its tables and ends.
        begin: No training is started any more, because it would hardly come to its first step.
        longest: The seconds of the longest test that a call with this budget can make.
    """

    ask: float | None = None
    kill: float | None = None
    end: float | None = None
    begin: float | None = None
    longest: float | None = None


NO_LIMIT = TimeLimit()


def plan_limit(begun: float, seconds: float | None, folder: Path, runs: Sequence[Path] = ()) -> TimeLimit:
    """Divides the budget of a study.

    The time for the tables, and for a training to stop, are those that earlier calls of the study have measured, with a
    margin. Before that, each is a tenth of the budget, or 45 s if that is less.

    Args:
        begun: When the command began (``time.time``).
        seconds: The budget; None for no limit.
        folder: The folder of the study.
        runs: The work folders of its runs.
    """
    if seconds is None:
        return NO_LIMIT
    unknown = min(FIRST_SHARE * seconds, FIRST_SECONDS)
    tables = sum(read_json(folder / TIMES).values()) or None
    stops = [stop for run in runs if (stop := read_effort_facts(run).get('stop_seconds'))]
    kill = begun + seconds - _with_margin(tables, unknown, seconds)
    ask = kill - _with_margin(max(stops, default=None), unknown, seconds)
    return TimeLimit(ask, kill, begun + seconds, ask - min(START_SHARE * seconds, START_SECONDS),
                     (kill - begun) / TEST_MARGIN)


def _with_margin(measured: float | None, unknown: float, budget: float) -> float:
    """Returns the seconds that are kept, at most a third of the budget."""
    return min(unknown if measured is None else measured * MARGIN + LEAST_SECONDS, budget / 3)


@contextmanager
def timed(part: str, folder: Path) -> Iterator[None]:
    """Records how long a part of the end of a study takes: its tables, its report, or the files to carry."""
    begun = time.time()
    yield
    write_json({**read_json(folder / TIMES), part: time.time() - begun}, folder / TIMES)


def known_seconds(part: str, folder: Path) -> float | None:
    """Returns how long a part of the end took at its last time; None if it was never done."""
    return read_json(folder / TIMES).get(part)


def is_over(deadline: float | None) -> bool:
    """Returns whether a time (``time.time``) has come; None never comes."""
    return deadline is not None and time.time() >= deadline


def fits(seconds: float | None, deadline: float | None) -> bool:
    """Returns whether work that took some seconds before ends before a time (``time.time``); it does if that is None.

    Work whose time is not known fits as long as the time has not come.
    """
    return deadline is None or time.time() + (seconds or 0.) * TEST_MARGIN <= deadline
