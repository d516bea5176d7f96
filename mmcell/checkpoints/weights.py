"""Checkpoint files of a work folder: the best checkpoint, the checkpoint to resume from, and complete files."""

import zipfile
from pathlib import Path

from mmengine.logging import print_log

from mmcell.checkpoints.records import find_best, read_records
from mmcell.framework.safe_loading import WeightsError


def find_checkpoint(path: str | Path) -> str:
    """Returns the checkpoint that a path stands for.

    Args:
        path: A file or URL, which is returned as it is, or a work folder. Of a work folder, the newest training counts:
            its best checkpoint by the recorded value is taken, or its last checkpoint if it has no ``best_*.pth``. If
            the best checkpoints for several values are kept, the value that the config names first decides. A folder
            without checkpoints of a training may hold one ``*.pth`` of any name.

    Raises:
        WeightsError: The path does not exist, or the folder holds no checkpoint, or several of other names.
    """
    folder = Path(path)
    if not folder.exists() and '://' not in str(path):
        raise WeightsError(f'there is no checkpoint or work folder {path}')
    if not folder.is_dir():
        return str(path)
    records = read_records(folder)
    if not records:
        others = sorted(folder.glob('*.pth'))
        if len(others) == 1:
            return str(others[0])
        raise WeightsError(f'the folder {folder} holds ' + (
            f'{len(others)} files *.pth, none of which is named best_*.pth, epoch_*.pth or iter_*.pth: name one of them'
            if others else 'no checkpoint (*.pth)'))
    records = [record for record in records if record.is_of_run(records[-1].run)]
    names = [name for record in records[::-1] for name in record.best_values] or [
        record.best_of for record in records if record.best_of]
    best = next((best for name in names if (best := find_best(records, name)) is not None), records[-1])
    return str(best.path)


def find_newest_complete(work_dir: str | Path) -> Path | None:
    """Returns the checkpoint of a work folder to resume from: the newest complete ``epoch_*.pth`` or ``iter_*.pth``.

    The newest is the last one of the training that was started last, as the records say (``CheckpointRecord.age``).
    Incomplete files are skipped with a warning.

    Args:
        work_dir: The work folder; it need not exist.

    Returns:
        The path of the checkpoint; None if the folder holds no complete checkpoint.
    """
    for record in reversed(read_records(work_dir)):
        if record.best_of is None:
            if is_complete(record.path):
                return record.path
            print_log(f'{record.path} is skipped: it is damaged, cut short, or has the format of torch before 1.6',
                      logger='current', level=30)
    return None


def is_complete(path: str | Path) -> bool:
    """Returns whether a file of ``torch.save`` (a zip archive) has all its parts, with the right check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        return False
