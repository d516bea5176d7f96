"""Unpacking of zips and gzip files of any origin."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.errors import MmcellError, in_one_line


@contextmanager
def unpacking(path: Path, error: type[MmcellError]) -> Iterator[None]:
    """Turns whatever the unpacking of a damaged file raises in the block into an error with one line.

    Python's modules for zip, gzip, bzip2 and LZMA raise errors of many kinds, for example a ValueError for a negative
    position. Errors of mmcell pass through.

    Args:
        path: The file, for the message.
        error: The class of the error.

    Raises:
        MmcellError: The file is damaged, or packed in a way that is not known.
    """
    try:
        yield
    except MmcellError:
        raise
    except Exception as reason:
        raise error(f'{path}: cannot be unpacked: {in_one_line(reason)}') from reason
