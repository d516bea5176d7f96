"""What is wrong with the paths of a command line, found before anything is imported that takes time.

Commands call these functions first. They look only at names, and change nothing: the files are opened, and folders
made, where they are used.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from mmcell.errors import MmcellError


def refuse_missing(*paths: str | Path | None) -> None:
    """Stops if a file or folder that will be read does not exist.

    Args:
        paths: The files and folders. None, and addresses such as ``https://…``, are passed over.

    Raises:
        FileNotFoundError: There is no such file or folder.
    """
    for path in paths:
        if path is not None and '://' not in str(path) and not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def refuse_missing_annotations(*paths: str | Path | None) -> None:
    """Stops if an annotation file does not exist.

    Args:
        paths: The files; None is passed over.

    Raises:
        FileNotFoundError: There is no such file.
    """
    for path in paths:
        if path is not None and not Path(path).exists():
            raise FileNotFoundError(f'no annotation file {path}: make it with data_prep/to_coco.py, or name an '
                                    'existing file (in a config: ann_file)')


def refuse_unwritable_folder(folder: str | Path | None, flag: str) -> None:
    """Stops if no file can be written to a folder, which need not exist.

    Args:
        folder: The folder; None is passed over.
        flag: The flag of the command line that names the folder, for the message.

    Raises:
        MmcellError: The folder, or the nearest folder above it that exists, is no folder or may not be written to.
    """
    if folder is None:
        return
    folder = Path(folder)
    whole = folder.absolute()
    # A drive may be missing on Windows. It is then no folder.
    nearest = next((path for path in (whole, *whole.parents) if os.path.lexists(path)), Path(whole.anchor))
    if not nearest.is_dir():
        reason = errno.EEXIST if nearest == whole else errno.ENOTDIR
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = errno.EACCES
    else:
        return
    raise MmcellError(f'cannot write to the folder {folder} ({os.strerror(reason)}): name another folder with {flag}')


def refuse_unwritable_files(paths: Iterable[str | Path | None], flag: str,
                            read: Iterable[str | Path | None] = ()) -> None:
    """Stops if files cannot be written, because a folder lies in the place of one, or its folder cannot be used.

    Args:
        paths: The files, which need not exist; None is passed over.
        flag: The flag of the command line that names them, for the message.
        read: What the command reads, which no file may replace; None is passed over.

    Raises:
        MmcellError: A file cannot be written, or would replace what is read.
    """
    inputs = {Path(path).resolve() for path in read if path is not None}
    for path in paths:
        if path is None:
            continue
        if Path(path).is_dir():
            raise MmcellError(f'{flag} must be a file, but {path} is a folder')
        if Path(path).resolve() in inputs:
            raise MmcellError(f'{flag} would overwrite {path}, which is read: name another file')
        refuse_unwritable_folder(Path(path).parent, flag)
