"""What conversions have in common: options, and what they print and write when files are bad."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.errors import MmcellError, escape


def add_pool_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --skip-bad and --jobs to the parser of a conversion."""
    parser.add_argument('--skip-bad', action='store_true',
                        help='leave out images with damaged or wrong files, list them, and end with exit status 3 '
                             '(default: stop at the first bad file and write nothing)')
    parser.add_argument('--jobs', type=positive_number, default=usable_cores(), metavar='N',
                        help='number of images that are converted at the same time, each in its own process (default: '
                             'the number of processor cores)')


def positive_number(text: str) -> int:
    """Returns the number that a text stands for; argparse prints a message if it is not a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 1, got {text}')
    return int(text)


def usable_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@contextmanager
def writing_at_the_end() -> Iterator[None]:
    """Adds the note that nothing was written to an error of the block, which writes all files at its end."""
    try:
        yield
    except (MmcellError, OSError) as error:
        error.add_note('nothing was written')
        raise


def print_skipped(messages: list[str], kind: str, n_good: int) -> None:
    """Prints why images were left out.

    Args:
        messages: One message per image that was left out.
        kind: What the images are: 'training' or 'test'.
        n_good: The number of images that are left.

    Raises:
        MmcellError: No image is left.
    """
    for message in messages:
        print(f'skipped: {escape(message)}', file=sys.stderr)
    if messages and not n_good:
        raise MmcellError(f'none of the {len(messages)} {kind} images can be used. The first: {messages[0]}')


def path_between(start: Path, target: Path) -> str:
    """Returns the relative path from ``start`` to ``target`` with forward slashes.

    It is the absolute path of ``target`` if there is no relative path, because the two lie on different drives.
    """
    try:
        # Symbolic links are resolved first: '..' leads up from the place where a linked folder really lies.
        return Path(os.path.relpath(target.resolve(), start.resolve())).as_posix()
    except ValueError:
        return target.resolve().as_posix()
