"""What lies in a folder: files that are meant, files that other programs left there, and files that cannot be used."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from mmcell.errors import MmcellError, escape, list_some

# Files and folders that other programs leave beside the user's files, by the words that a message uses for them. The
# first kind that fits counts.
_LEFTOVERS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in {
    'of macOS': r'\._.*|\.DS_Store|__MACOSX|Icon\r|\.(Spotlight-V100|Trashes|fseventsd|AppleDouble|TemporaryItems)',
    'of Windows': r'(eh)?thumbs(_vista)?\.db|desktop\.ini|~\$.*|\$RECYCLE\.BIN|System Volume Information',
    'of a network drive': r'@eaDir|@tmp|@Recycle|#recycle|@Recently-Snapshot|\.@__thumb|\.nfs.*|lost\+found',
    'of Jupyter': r'\.ipynb_checkpoints',
    'of Python': r'__pycache__',
    'of an editor (a lock or backup copy)': r'\.#.*|#.*#|\.~lock\..*#|.*~|.*\.(bak|orig|swp)',
    'not complete (a temporary file)': r'.*\.(tmp|temp|part|partial|crdownload|download|filepart)',
    'hidden': r'\..*',
}.items()}
# What stands in the place of a file whose content was not fetched; these files have a few hundred bytes.
_POINTERS = {
    b'version https://git-lfs.github.com/spec/': 'is a Git LFS pointer in place of the file: run git lfs pull',
    b'/annex/objects/': 'is a git-annex pointer in place of the file: run git annex get',
}
_MAX_POINTER_BYTES = 1024


class FileError(MmcellError):
    """A file or folder cannot be used; the message says why, and what to do."""


def leftover_kind(name: str) -> str | None:
    """Returns the kind of leftover that a file or folder with this name is, or None if the user may mean it.

    Hidden files count as leftovers.
    """
    return next((kind for kind, pattern in _LEFTOVERS.items() if pattern.fullmatch(name)), None)


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Lists a folder, without its subfolders.

    Returns:
        The files and folders that the user may mean, then the leftovers of other programs; both sorted by name. Broken
        links are among the first: see :func:`file_problem`.

    Raises:
        FileError: The folder does not exist or cannot be listed.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise FileError(f'{folder}: {_link_problem(folder) or f"cannot be listed: {error.strerror}"}') from error
    leftovers = [path for path in paths if leftover_kind(path.name)]
    return [path for path in paths if not leftover_kind(path.name)], leftovers


def describe_leftovers(names: Iterable[str]) -> str:
    """Returns one line that says how many leftovers of which kind were passed over; empty without leftovers.

    Args:
        names: Paths of the leftovers, or of files in folders that are leftovers.
    """
    by_kind: dict[str, list[str]] = {}
    for name in names:
        kind = next(filter(None, map(leftover_kind, reversed(Path(name).parts))))
        by_kind.setdefault(kind, []).append(name)
    kinds = '; '.join(f'{len(group)} {kind} ({list_some(group)})' for kind, group in by_kind.items())
    return f'passed over, hidden files and leftovers of other programs: {kinds}' if kinds else ''


def file_problem(path: str | Path) -> str | None:
    """Returns why a file cannot be used, as the predicate of a sentence; None if nothing is wrong with it.

    Found are missing and empty files, broken links, links in a circle, pointers of Git LFS and git-annex, folders,
    pipes and devices in the place of files, and missing permissions.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return 'is a folder, but a file is expected'
        if not stat.S_ISREG(status.st_mode):
            return 'is a pipe, socket or device, but a file is expected'
        if status.st_size == 0:
            return 'is empty (0 bytes): copy the file again'
        if not os.access(path, os.R_OK):
            return 'cannot be read: you have no permission'
        if status.st_size <= _MAX_POINTER_BYTES:
            content = path.read_bytes()
            return next((problem for start, problem in _POINTERS.items() if content.startswith(start)), None)
    except OSError as error:
        return _link_problem(path) or ('does not exist' if isinstance(error, FileNotFoundError) else
                                       f'cannot be read: {error.strerror}')
    return None


def refuse_unusable(path: str | Path) -> None:
    """Raises a FileError if :func:`file_problem` finds a problem."""
    if problem := file_problem(path):
        raise FileError(f'{path}: {problem}')


def _link_problem(path: Path) -> str | None:
    """Returns what is wrong with a link; None if the path is no link, or its target exists."""
    if not path.is_symlink() or path.exists():
        return None
    return (f'is a broken link to {escape(path.readlink())}: fetch the file that it stands for (git-annex and '
            'DataLad: git annex get, datalad get), or remove the link')
