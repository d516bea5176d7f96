"""The checkpoints of a work folder: what is known of them without their weights, and which is the best or newest."""

import json
import re
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmcell.checkpoints.starters import find_starters
from mmcell.framework.weights_errors import WeightsError

# epoch_3.pth, iter_2000.pth, best_AP50_epoch_3.pth. Slashes in the names of values become underscores in file names.
_NAME = re.compile(r'(?:best_(?P<value>.+)_)?(?:epoch|iter)_(?P<number>\d+)')


@dataclass(frozen=True)
class CheckpointRecord:
    """The record of a checkpoint of a training.

    Attributes:
        path: The checkpoint.
        best_of: The value whose best checkpoint this is, as the file name has it, for example 'AP50'; None if the
            checkpoint was saved because of its epoch or step.
        number: The epoch or step in the file name.
        content: The record beside the file (``NAME.json``), or what the file itself says about its training; empty if
            neither can be read.
    """

    path: Path
    best_of: str | None
    number: int
    content: dict

    @property
    def run(self) -> str | None:
        """The time at which the training started, as 'YYYYmmdd_HHMMSS'; None if it is not known."""
        return self.content.get('run')

    @property
    def step(self) -> int:
        """The number of steps that were done when the checkpoint was saved; -1 if it is not known."""
        step = self.content.get('iter')
        return step if isinstance(step, int) else -1

    @property
    def age(self) -> tuple[str, int, int]:
        """A value that is greater for later trainings, and within a training for later checkpoints.

        Times of files say nothing, because copied files have other times. Checkpoints that were saved before trainings
        had a start time in their record count by the time at which they were saved.
        """
        return str(self.run or self.content.get('time') or ''), self.step, self.number

    @property
    def best_values(self) -> dict[str, tuple[float, str]]:
        """The best values of the training when the checkpoint was saved, each with 'greater' or 'less', by name."""
        values = self.content.get('best')
        return {name: (entry['value'], entry['rule']) for name, entry in values.items()} if values else {}

    @property
    def best(self) -> tuple[float, str] | None:
        """The value of ``best_of`` and the rule by which it is the best, 'greater' or 'less'; None if not known."""
        return next((entry for name, entry in self.best_values.items() if _in_file_name(name) == self.best_of), None)

    def is_of_run(self, run: str | None) -> bool:
        """Whether the checkpoint belongs to the training that started at ``run``; so it is if either is not known."""
        return self.run is None or run is None or self.run == run


def record_path(checkpoint: Path) -> Path:
    """Returns the path of the record beside a checkpoint, for example epoch_3.json for epoch_3.pth."""
    return checkpoint.with_suffix('.json')


def read_records(folder: str | Path) -> list[CheckpointRecord]:
    """Returns the records of all checkpoints that trainings have saved in a folder, from the oldest to the newest.

    Args:
        folder: The folder; it need not exist. Files with names that trainings do not give are passed over.
    """
    paths = (path for path in Path(folder).glob('*.pth') if _NAME.fullmatch(path.stem))
    return sorted(map(read_record, paths), key=lambda record: record.age)


def read_record(path: str | Path) -> CheckpointRecord:
    """Returns the record of a checkpoint, whatever its name is, also if the file is damaged or missing."""
    path = Path(path)
    match = _NAME.fullmatch(path.stem)
    best_of, number = (match['value'], int(match['number'])) if match else (None, -1)
    return CheckpointRecord(path, best_of, number, _read_content(path))


def _read_content(checkpoint: Path) -> dict:
    # Beside a model that is passed on lies its description, which is no record.
    if checkpoint.suffix != '.safetensors':
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(record_path(checkpoint).read_text(encoding='utf-8'))
            if isinstance(content, dict):
                return content
    from mmcell.framework.safe_loading import load_tensors_only
    with suppress(OSError, WeightsError):
        return content_of(load_tensors_only(checkpoint))
    return {}


def content_of(checkpoint: dict) -> dict:
    """Returns what a loaded checkpoint says about its training, in the form of the record beside it."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        return {}
    described = meta.get('mmcell')
    return {**{key: meta.get(key) for key in ('epoch', 'iter', 'seed', 'time')}, 'config': meta.get('cfg'),
            **(described if isinstance(described, dict) else {})}


def find_best(records: list[CheckpointRecord], value: str) -> CheckpointRecord | None:
    """Returns the best checkpoint for a value; None if the records have none.

    Usually there is one. There are two if a training was killed after it had saved the new best checkpoint, and before
    it removed the old one.

    Args:
        records: Records of one training.
        value: The name of the value, for example 'AP50'.
    """
    candidates = [record for record in records if record.best_of == _in_file_name(value)]
    known = [record for record in candidates if record.best is not None]
    if not known:
        return candidates[-1] if candidates else None
    return max(known, key=lambda record: -record.best[0] if record.best[1] == 'less' else record.best[0])


def _in_file_name(value: str) -> str:
    return value.replace('/', '_')


def find_checkpoint(path: str | Path) -> str:
    """Returns the checkpoint that a path stands for.

    Args:
        path: A file or URL, which is returned as it is, or a work folder. Of a work folder, the newest training counts:
            its best checkpoint by the recorded value is taken, or its last checkpoint if it has no ``best_*.pth``. If
            the best checkpoints for several values are kept, the value that the config names first decides. A folder
            without checkpoints of a training may hold one ``*.pth`` or ``*.safetensors`` of any name. The name of a
            model that mmcell brings (:mod:`mmcell.checkpoints.starters`) stands for its file.

    Raises:
        WeightsError: The path does not exist, or the folder holds no checkpoint, or several of other names.
    """
    folder = Path(path)
    if not folder.exists() and '://' not in str(path):
        starters = find_starters()
        if str(path) in starters:
            return str(starters[str(path)])
        names = f', and no model of this name; the models are {", ".join(starters)}' if starters else ''
        raise WeightsError(f'there is no checkpoint or work folder {path}{names}')
    if not folder.is_dir():
        return str(path)
    records = read_records(folder)
    if not records:
        others = sorted(path for path in folder.iterdir() if path.suffix in ('.pth', '.safetensors'))
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
            from mmengine.logging import print_log
            print_log(f'{record.path} is skipped: it is damaged, cut short, or has the format of torch before 1.6',
                      logger='current', level=30)
    return None


def is_complete(path: str | Path) -> bool:
    """Returns whether a file of ``torch.save`` (a zip archive) has all its parts, with the right check sums."""
    from mmcell.framework.safe_loading import find_damage
    return zipfile.is_zipfile(path) and find_damage(path) is None
