"""Files that are written completely or not at all."""

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


@contextmanager
def written_whole(paths: Iterable[str | Path]) -> Iterator[list[Path]]:
    """Yields one temporary path for each path; when the block ends, the temporary files are renamed to the paths.

    If the block fails, or the process is killed during the block, the files that were there before stay unchanged. The
    temporary files lie in the same folders as the final ones; missing folders are made. Temporary files are removed
    when the block fails. Only a killed process leaves them behind, until another process writes the same paths.

    Args:
        paths: The final files. The block must write all of them.

    Yields:
        The temporary paths, in the order of ``paths``.

    Raises:
        OSError: A file cannot be renamed. Errors of the block are passed on.
    """
    paths = [Path(path) for path in paths]
    temporary = [path.with_name(f'.{path.name}.{os.getpid()}.tmp') for path in paths]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The first files would be renamed already when the renaming of a later one fails.
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, 'a folder lies in the place of the file', str(path))
            for left in _recent_leftovers(path.parent).pop(path.name, ()):
                left.unlink(missing_ok=True)
        yield temporary
        for path, written in zip(paths, temporary, strict=True):
            with open(written, 'rb+') as file:
                # Without this, a power cut could leave the new name on the disk with incomplete content.
                os.fsync(file.fileno())
            os.replace(written, path)
    finally:
        for written in temporary:
            written.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path, name_matches: Callable[[str], bool]) -> None:
    """Removes the temporary files that killed processes left in a folder, also of files that are not written again.

    Temporary files of processes that still run are kept.

    Args:
        folder: Folder to be cleaned; it need not exist.
        name_matches: Called with the name of the final file; says whether its temporary files are removed.
    """
    for name, paths in _list_leftovers(folder).items():
        if name_matches(name):
            for path in paths:
                path.unlink(missing_ok=True)


def _list_leftovers(folder: str | Path) -> dict[str, list[Path]]:
    """Returns the temporary files of processes that have ended, by the names of the final files."""
    leftovers = defaultdict(list)
    for path in Path(folder).glob('.*.*.tmp'):
        name, process_id, _ = path.name[1:].rsplit('.', 2)
        if not (process_id.isdecimal() and _is_alive(int(process_id))):
            leftovers[name].append(path)
    return leftovers


def _recent_leftovers(folder: Path) -> dict[str, list[Path]]:
    """Returns what :func:`_list_leftovers` does, or has returned a moment ago.

    A folder with thousands of files must not be listed for each of them: lists are made for 1 % of the time at most.
    """
    now, listing = time.monotonic(), _listings.get(folder)
    if listing is None or now - listing.begin > 100 * listing.seconds:
        begin = time.thread_time()
        leftovers = _list_leftovers(folder)
        listing = _listings[folder] = _Listing(leftovers, now, time.thread_time() - begin)
    return listing.leftovers


class _Listing(NamedTuple):
    leftovers: dict[str, list[Path]]
    begin: float
    seconds: float


_listings: dict[Path, _Listing] = {}


def _is_alive(process_id: int) -> bool:
    try:
        # Signal 0 is never delivered: the system only checks whether the process exists.
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process exists, but belongs to another user
        return True
    return True
