"""Records from which image and with which settings outputs were made, in a hidden file beside the outputs."""

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.writers.formats import CALL_TABLES, FORMATS


def record_path(folder: Path, name: str) -> Path:
    """Returns the path of the record of the image whose outputs are called ``name``."""
    return folder / f'.{name}.json'


def read_record(folder: Path, name: str) -> dict:
    """Reads the record that :func:`recording` wrote; returns an empty dict if it is missing or damaged."""
    try:
        record = json.loads(record_path(folder, name).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get('image'), str) else {}


def refuse_to_replace(folder: Path, name: str, image: Path, paths: Sequence[Path]) -> None:
    """Checks that the outputs of an image would overwrite nothing but outputs of the same image.

    Args:
        folder: Where the outputs are written.
        name: Name of the outputs.
        image: The image file.
        paths: The outputs that will be written; if there are none, nothing is checked.

    Raises:
        MmcellError: An output would overwrite one that an earlier run made from another image, or a file beside which
            no record says that it is an output.
    """
    # Another process that writes outputs of the same image writes its record before the first of them.
    present = [path for path in paths if os.path.lexists(path)]
    record = read_record(folder, name)
    if paths and record.get('image') not in (None, str(image.resolve())):
        raise MmcellError(f"the outputs of {image} would replace the outputs of {record['image']} in {folder}, because "
                          f'both are called {name}: name another folder with --out, or move them away with '
                          f'{record_path(folder, name)}')
    own = _recorded_files(record)
    if record and own is None:  # the record of an earlier version, which does not name the files
        return
    if foreign := [path for path in present if path.name not in (own or {})]:
        raise MmcellError(f'{foreign[0]} would be overwritten, and no {record_path(folder, name)} says that it is a '
                          'result of mmcell: name another folder with --out, or move that file away')


def _recorded_files(record: dict) -> dict[str, str | None] | None:
    """Returns the SHA-256 sums of outputs by their names; None if the record does not have them.

    The sum of a file that was being written when the run was interrupted is None.
    """
    files = record.get('files')
    return files if isinstance(files, dict) else None


def recorded_outputs() -> Callable[[Path], bool]:
    """Returns a function that says whether a file is an output of an earlier run, according to the records beside it.

    The files of all formats count, whatever formats the record names: a later run with fewer formats replaces the
    record, but leaves the files of the other formats in the folder.
    """
    recorded_names = functools.cache(_recorded_names)

    def is_output(path: Path) -> bool:
        if path.name in CALL_TABLES:
            return bool(recorded_names(path.resolve().parent))
        return any(
            path.name.endswith(suffix) and path.name.removesuffix(suffix) in recorded_names(path.resolve().parent)
            for suffix in _possible_suffixes(path.name))
    return is_output


def _recorded_names(folder: Path) -> set[str]:
    names = (path.name[1:-len('.json')] for path in folder.glob('.*.json'))
    return {name for name in names if read_record(folder, name)}


def _possible_suffixes(file_name: str) -> list[str]:
    """Returns the suffixes of all formats, for at least as many classes as the file name mentions."""
    class_number = re.search(r'_class(\d+)\.tif$', file_name)
    # Numbers of more than four digits are not classes, and would make a very long list.
    n_classes = int(class_number[1]) if class_number and len(class_number[1]) < 5 else 0
    return [suffix for output_format in FORMATS.values() for suffix in output_format.suffixes(n_classes)]


def refuse_changed(folder: Path, name: str, paths: Sequence[Path]) -> None:
    """Checks that outputs which will be replaced are as they were written: nobody has corrected cells in them.

    Args:
        folder: Where the outputs are.
        name: Name of the outputs.
        paths: The outputs that will be replaced.

    Raises:
        MmcellError: One of them has another content than the record says.
    """
    files = _recorded_files(read_record(folder, name)) or {}
    for path in paths:
        if files.get(path.name) is not None and path.is_file() and _sum_of(path) != files[path.name]:
            raise MmcellError(f'{path} was changed after it was written, and the changes would be lost: name another '
                              'folder with --out, or move that file away')


def _sum_of(path: Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


@contextmanager
def recording(folder: Path, name: str, record: dict, paths: Sequence[Path]) -> Iterator[None]:
    """Writes the record of an image after the block, which writes the outputs, has ended.

    Before the block, a record is written that has only the image and, under the key 'files', the outputs of this and of
    earlier runs with their SHA-256 sums. If the block is interrupted, it shows that the files belong to this image, but
    not with which settings they were made, so that a resumed run makes them again.

    Args:
        folder: Where the outputs are written.
        name: Name of the outputs.
        record: The record, in JSON's types, with the path of the image under the key 'image'.
        paths: The outputs that the block writes.
    """
    files = (_recorded_files(read_record(folder, name)) or {}) | {path.name: None for path in paths}
    _write(folder, name, {'image': record['image'], 'files': files})
    yield
    sums = {path.name: _sum_of(path) for path in paths}
    # Meanwhile, another process may have written files of other formats.
    files |= (_recorded_files(read_record(folder, name)) or {}) | sums
    _write(folder, name, {**record, 'files': files})


def _write(folder: Path, name: str, record: dict) -> None:
    with written_whole([record_path(folder, name)]) as (temporary,):
        temporary.write_text(json.dumps(record), encoding='utf-8')
