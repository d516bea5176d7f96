"""Files that are written completely or not at all."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(paths: Iterable[str | Path]) -> Iterator[list[Path]]:
    """Yields one temporary path for each path; when the block ends, the temporary files are renamed to the paths.

    If the block fails, or the process is killed during the block, the files that were there before stay unchanged. The
    temporary files lie in the same folders as the final ones; missing folders are made. Temporary files are removed
    when the block fails; only a killed process leaves them behind.

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
    """Removes the temporary files that killed processes left in a folder.

    Temporary files of processes that still run are kept.

    Args:
        folder: Folder to be cleaned; it need not exist.
        name_matches: Called with the name of the final file; says whether its temporary files are removed.
    """
    for path in Path(folder).glob('.*.*.tmp'):
        name, process_id, _ = path.name[1:].rsplit('.', 2)
        if name_matches(name) and not (process_id.isdecimal() and _is_alive(int(process_id))):
            path.unlink(missing_ok=True)


def _is_alive(process_id: int) -> bool:
    try:
        # Signal 0 is never delivered: the system only checks whether the process exists.
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process exists, but belongs to another user
        return True
    return True
