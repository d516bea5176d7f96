"""Files that appear whole or not at all."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(paths: Iterable[str | Path]) -> Iterator[list[Path]]:
    """Gives a temporary path for each path; what was written there gets its name when the block ends.

    Where the block fails, or the process is killed in it, every old file stays as it was. The temporary files lie in
    the folders of the paths, which are made; they are removed when the block fails. Only a killed process leaves them.

    Raises:
        OSError: a file cannot be renamed; whatever the block raises.
    """
    paths = [Path(path) for path in paths]
    temporary = [path.with_name(f'.{path.name}.{os.getpid()}.tmp') for path in paths]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for path, written in zip(paths, temporary, strict=True):
            with open(written, 'rb+') as file:
                # Else the name may reach the disk before the content does.
                os.fsync(file.fileno())
            os.replace(written, path)
    finally:
        for written in temporary:
            written.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path, is_meant: Callable[[str], bool]) -> None:
    """Removes the temporary files that killed processes left in a folder.

    Args:
        folder: may be absent.
        is_meant: whether a file of this name is one whose temporary files go.
    """
    for path in Path(folder).glob('.*.*.tmp'):
        name, process_id, _ = path.name[1:].rsplit('.', 2)
        if is_meant(name) and not (process_id.isdecimal() and _is_alive(int(process_id))):
            path.unlink(missing_ok=True)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
