"""Counts how often files are opened, by whatever function of Python: open, pathlib, numpy, tifffile, Pillow."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_counters: list[Counter[Path]] = []


@contextmanager
def recording_opens() -> Iterator[Counter[Path]]:
    """Yields a counter of the files, by their path without links, that are opened in the block in this process."""
    if not _counters:
        # A hook cannot be removed; without a counter it does nothing.
        _counters.append(Counter())
        sys.addaudithook(_count_open)
    _counters.append(Counter())
    try:
        yield _counters[-1]
    finally:
        _counters.pop()


def _count_open(event: str, args: tuple) -> None:
    if event == 'open' and len(_counters) > 1 and isinstance(args[0], str | bytes):
        _counters[-1][Path(os.path.realpath(os.fsdecode(args[0])))] += 1
