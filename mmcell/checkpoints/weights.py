"""Checkpoint files of a work folder: the best checkpoint, the checkpoint to resume from, and complete files."""

import zipfile
from pathlib import Path

from mmengine.logging import print_log

from mmcell.framework.safe_loading import WeightsError


def find_checkpoint(path: str | Path) -> str:
    """Returns the checkpoint that a path stands for.

    Args:
        path: A file or URL, which is returned as it is, or a work folder. In a folder the newest ``best_*.pth`` is
            taken, or the newest ``*.pth`` if there is no ``best_*.pth``.

    Raises:
        WeightsError: The path does not exist, or the folder holds no checkpoint.
    """
    folder = Path(path)
    if not folder.exists() and '://' not in str(path):
        raise WeightsError(f'there is no checkpoint or work folder {path}')
    if not folder.is_dir():
        return str(path)
    for pattern in ('best_*.pth', '*.pth'):
        checkpoints = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
        if checkpoints:
            return str(checkpoints[-1])
    raise WeightsError(f'the folder {folder} holds no checkpoint (*.pth)')


def find_newest_complete(work_dir: str | Path) -> Path | None:
    """Returns the checkpoint of a work folder to resume from: the newest complete ``epoch_*.pth`` or ``iter_*.pth``.

    The number in the name says which file is the newest, because copied files have other times. If there are files of
    both kinds, the kind whose newest file was changed last is preferred. Incomplete files are skipped with a warning.

    Args:
        work_dir: The work folder; it need not exist.

    Returns:
        The path of the checkpoint; None if the folder holds no complete checkpoint.
    """
    series = [sorted(Path(work_dir).glob(f'{name}_*.pth'), key=_step_of, reverse=True) for name in ('epoch', 'iter')]
    series.sort(key=lambda paths: paths[0].stat().st_mtime if paths else 0, reverse=True)
    for path in (path for paths in series for path in paths):
        if is_complete(path):
            return path
        print_log(f'{path} is skipped: it was cut short, or has the format of torch before 1.6', logger='current',
                  level=30)
    return None


def _step_of(path: Path) -> int:
    number = path.stem.rpartition('_')[2]
    return int(number) if number.isdecimal() else -1


def is_complete(path: str | Path) -> bool:
    """Returns whether a file of ``torch.save`` (a zip archive) has all its parts, with the right check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        return False
