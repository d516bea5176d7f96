"""Calls one function for many items, on several processes, with a progress bar."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, resource_tracker

from mmcell.errors import MmcellError
from mmcell.files.orphans import end_after_parent


def map_with_progress(function: Callable, items: Sequence, jobs: int, description: str,
                      skip_bad: bool) -> tuple[list, list[str]]:
    """Calls a function for every item; the results are in the order of the items, however many processes work.

    Args:
        function: Function of one item. It can be pickled, and returns anything but a str.
        items: The items, each of which is the only argument of one call.
        jobs: Number of processes; with 1 the work is done in this process.
        description: Text beside the progress bar, which is drawn on standard error.
        skip_bad: Whether the work goes on after an item for which ``function`` raises MmcellError or OSError.

    Returns:
        The results of the good items, and the error messages of the bad ones.

    Raises:
        MmcellError, OSError: Without ``skip_bad``, the error of the first bad item; the work stops there.
    """
    from rich.console import Console
    from rich.progress import track
    attempt = partial(_result_or_message, function) if skip_bad else function
    bar = partial(track, description=description, total=len(items), console=Console(stderr=True))
    if jobs == 1 or len(items) < 2:
        results = [attempt(item) for item in bar(items)]
    else:
        # Processes are spawned, not forked: the progress bar runs in a thread, and a forked copy of a process with
        # threads may hang.
        pool = ProcessPoolExecutor(min(jobs, len(items)), get_context('spawn'), end_after_parent)
        others = multiprocessing.active_children()
        try:
            # All processes are started here.
            with _deaf_children():
                futures = [pool.submit(attempt, item) for item in items]
            results = [future.result() for future in bar(futures)]
        except BaseException:
            # Without this, they would finish the items that they have, and Python would wait for them. No future may be
            # cancelled, as pool.map does: for those, Python 3.11 prints a traceback when the workers end.
            for worker in set(multiprocessing.active_children()) - set(others):
                worker.terminate()
            raise
        finally:
            pool.shutdown()
    return ([result for result in results if not isinstance(result, str)],
            [result for result in results if isinstance(result, str)])


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Makes processes that are started in the block ignore Ctrl-C, which reaches all processes of a terminal.

    This process ends them after Ctrl-C; they themselves would only print tracebacks.
    """
    if not hasattr(signal, 'pthread_sigmask'):  # on Windows
        yield
        return
    # Python's tracker of shared resources would be started in the block, and that ends the block of the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result_or_message(function: Callable, item: object) -> object:
    # A message is the only str among the results, which is how map_with_progress tells bad items from good ones.
    try:
        return function(item)
    except (MmcellError, OSError) as error:
        return str(error)
