"""What the files of an image were made from, in a hidden file beside them."""

import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.files.whole_files import written_whole
from mmcell.inference.writers import FORMATS


def describe_image(path: Path) -> dict:
    """What tells an image file from others and from its other versions, of JSON's types.

    Raises:
        OSError: the file is not there.
    """
    status = path.stat()
    return {'image': str(path.resolve()), 'n_bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}


def record_path(folder: Path, name: str) -> Path:
    """The record of the image whose outputs are called ``name``."""
    return folder / f'.{name}.json'


def read_record(folder: Path, name: str) -> dict:
    """What :func:`recording` wrote; empty where there is no record, or a damaged one."""
    try:
        record = json.loads(record_path(folder, name).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get('image'), str) else {}


def recorded_outputs() -> Callable[[Path], bool]:
    """Gives a test: whether a file is one that was written for an image, as the records in its folder say.

    Every format counts, since a later run for fewer of them leaves the files of the others there.
    """
    names_in = functools.cache(_recorded_names)

    def is_output(path: Path) -> bool:
        return any(path.name.endswith(suffix) and path.name.removesuffix(suffix) in names_in(path.resolve().parent)
                   for suffix in _suffixes_of_outputs(path.name))
    return is_output


def _recorded_names(folder: Path) -> set[str]:
    names = (path.name[1:-len('.json')] for path in folder.glob('.*.json'))
    return {name for name in names if read_record(folder, name)}


def _suffixes_of_outputs(file_name: str) -> list[str]:
    of_class = re.search(r'_class(\d+)\.tif$', file_name)
    n_classes = int(of_class[1]) if of_class and len(of_class[1]) < 5 else 0
    return [suffix for known in FORMATS.values() for suffix in known.suffixes(n_classes)]


@contextmanager
def recording(folder: Path, name: str, record: dict) -> Iterator[None]:
    """Writes the record when the block, which writes the outputs, has ended.

    Before, the image alone is noted: outputs of a block that was stopped count as unknown.
    """
    _write(folder, name, {'image': record['image']})
    yield
    _write(folder, name, record)


def _write(folder: Path, name: str, record: dict) -> None:
    with written_whole([record_path(folder, name)]) as (temporary,):
        temporary.write_text(json.dumps(record), encoding='utf-8')
