"""Progress bars of a prediction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Is called with two numbers: how many images or tiles are done, and how many there are.
Report = Callable[[int, int], None]


@contextmanager
def progress_bars(is_hidden: bool = False) -> Iterator[Callable[[str], Report]]:
    """Shows progress bars with the remaining time on standard error.

    Args:
        is_hidden: Whether nothing is shown.

    Yields:
        A function that adds a bar with a description beside it, and returns the function that moves the bar.
    """
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn('elapsed,'), TimeRemainingColumn(), TextColumn('left'))
    with Progress(*columns, console=Console(stderr=True), disable=is_hidden) as progress:
        def add_bar(description: str) -> Report:
            task = progress.add_task(description, total=None)
            return lambda n_done, n_all: progress.update(task, completed=n_done, total=n_all)
        yield add_bar
