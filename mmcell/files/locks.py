"""Folders in which only one process may work."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.errors import MmcellError, escape

_NAME = '.lock-of-the-training'


class FolderInUseError(MmcellError):
    """Another process works in the folder."""


@contextmanager
def working_alone(folder: str | Path, what: str) -> Iterator[None]:
    """Keeps other processes from entering this block for the same folder, until the block or the process ends.

    The lock belongs to this process: the workers of data loaders, which may live longer, do not hold it. It stays in
    the folder as an empty hidden file. Where the system or the disk has no locks, nothing is kept from anything.

    Args:
        folder: The folder, which exists.
        what: What this process does there, for the message, for example 'training'.

    Raises:
        FolderInUseError: Another process is in the block.
        OSError: The folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = Path(folder) / _NAME
    with open(path, 'a+', encoding='utf-8') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise FolderInUseError(f'{folder}: another {what} works in this folder ({escape(file.read(200).strip())}). '
                                   'Wait for its end, or name another folder') from error
        except OSError:  # some network file systems
            yield
            return
        file.truncate(0)
        file.write(f'process {os.getpid()} of the computer {socket.gethostname()}\n')
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
