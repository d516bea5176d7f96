"""One function over many items, on several processes, with a progress bar."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from mmcell.errors import MmcellError


def map_with_progress(function: Callable, items: Sequence, jobs: int, what: str,
                      skip_bad: bool) -> tuple[list, list[str]]:
    """``function`` of every item; the order is that of the items whatever ``jobs`` is.

    Args:
        function: picklable; gives anything but a str.
        items: its arguments.
        jobs: processes; 1 for none beside this one.
        what: said beside the progress bar, which is drawn on standard error.
        skip_bad: go on after an item that raises MmcellError or OSError.

    Returns:
        The results, and the messages of the bad items, which have no result.

    Raises:
        MmcellError, OSError: of the first bad item without ``skip_bad``; the work stops there.
    """
    from rich.console import Console
    from rich.progress import track
    attempt = partial(_result_or_message, function) if skip_bad else function
    bar = partial(track, description=what, total=len(items), console=Console(stderr=True))
    if jobs == 1 or len(items) < 2:
        results = [attempt(item) for item in bar(items)]
    else:
        # Spawned, not forked: the progress bar has a thread, and a forked copy of a threaded process may hang.
        with ProcessPoolExecutor(min(jobs, len(items)), mp_context=get_context('spawn')) as pool:
            try:
                results = list(bar(pool.map(attempt, items)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return ([result for result in results if not isinstance(result, str)],
            [result for result in results if isinstance(result, str)])


def _result_or_message(function: Callable, item: object) -> object:
    try:
        return function(item)
    except (MmcellError, OSError) as error:
        return str(error)
