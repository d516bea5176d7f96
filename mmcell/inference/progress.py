"""Progress bars of a prediction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Is called with three numbers: how many images or tiles are done, how many there are, and how many cells were found.
Report = Callable[[int, int, int], None]


@contextmanager
def progress_bars(is_hidden: bool = False) -> Iterator[Callable[[str], Report]]:
    """Shows progress bars with the remaining time and the cells that were found on standard error.

    Args:
        is_hidden: Whether nothing is shown.

    Yields:
        A function that adds a bar with a description beside it, and returns the function that moves the bar.
    """
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn('elapsed,'), TimeRemainingColumn(), TextColumn('left,'),
               TextColumn('{task.fields[n_cells]:,} cells'))
    with Progress(*columns, console=Console(stderr=True), disable=is_hidden) as progress:
        def add_bar(description: str) -> Report:
            task = progress.add_task(description, total=None, n_cells=0)
            return lambda n_done, n_all, n_cells: progress.update(task, completed=n_done, total=n_all, n_cells=n_cells)
        yield add_bar
