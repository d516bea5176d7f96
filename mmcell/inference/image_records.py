"""What the files of an image were made from, in a hidden file beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.inference.writers import output_paths
from mmcell.whole_files import written_whole


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
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def recorded_outputs(folder: Path) -> set[Path]:
    """Absolute paths of the files in a folder that were written for images, as their records say."""
    outputs = set()
    for path in folder.glob('.*.json'):
        name = path.name[1:-len('.json')]
        record = read_record(folder, name)
        if 'formats' in record:
            n_classes = len(record['settings']['class_names'])
            outputs.update(output.resolve() for output in output_paths(record['formats'], folder, name, n_classes))
    return outputs


@contextmanager
def recording(folder: Path, name: str, record: dict) -> Iterator[None]:
    """Writes the record when the block, which writes the outputs, has ended.

    The old record goes before: outputs of a block that was stopped count as unknown.
    """
    path = record_path(folder, name)
    path.unlink(missing_ok=True)
    yield
    with written_whole([path]) as (temporary,):
        temporary.write_text(json.dumps(record), encoding='utf-8')
