"""Sets of annotation files: the files of one conversion, which must not be combined with those of another.

Several files cannot be renamed at the same time. If a conversion is killed in between, a new ``train.json`` lies beside
an old ``val.json``, and an image may be in both. Each file therefore states to which set it belongs, in ``info``::

    "file_set": {"id": "5f1c…", "files": ["train.json", "val.json", "trainval.json", "test.json"]}

The id is a hash of the contents of all files, so that the same data give the same bytes. Whoever reads one of the files
compares it with the others.
"""

import hashlib
import json
import re
from pathlib import Path

from mmcell.files.names import is_bare_name

# The files that a conversion writes.
TRAIN_JSON, VAL_JSON, TRAINVAL_JSON, TEST_JSON = 'train.json', 'val.json', 'trainval.json', 'test.json'
# The entry "info" stands at the beginning of the files that mmcell writes, and has fewer characters than this.
_HEAD_BYTES = 16_384


def as_file_set(documents: dict[Path, dict]) -> dict[Path, dict]:
    """Returns the files of one conversion with the entry ``info.file_set``.

    Args:
        documents: The content of each file by its path; all of them lie in the same folder, and have the entry 'info'.
    """
    digest = hashlib.sha256()
    for path, document in documents.items():
        digest.update(json.dumps([path.name, document]).encode())
    file_set = {'id': digest.hexdigest()[:32], 'files': [path.name for path in documents]}
    return {path: {**document, 'info': {**document['info'], 'file_set': file_set}}
            for path, document in documents.items()}


def info_of(document: object) -> dict:
    """Returns the entry ``info`` of an annotation file; empty if the file has none."""
    info = document.get('info') if isinstance(document, dict) else None
    return info if isinstance(info, dict) else {}


def is_converted(path: Path) -> bool:
    """Says whether a file is an annotation file that a conversion has written under this name."""
    file_set = _read_file_set(path)
    return file_set is not None and path.name in file_set['files']


def find_file_of_other_set(path: Path, document: dict) -> str | None:
    """Returns the first file that lies where a file of the same set should lie, but does not belong to the set.

    Files of the set that are missing, and files that are not in a set, are nothing to complain about. Neither is a file
    that was renamed after the conversion: whoever does that means it.

    Args:
        path: An annotation file.
        document: The content of the file.
    """
    path, file_set = path.resolve(), _file_set_of(document)
    if file_set is None or path.name not in file_set['files']:
        return None
    return next((name for name in file_set['files'] if name != path.name and (path.parent / name).exists()
                 and _read_file_set(path.parent / name) != file_set), None)


def _file_set_of(document: object) -> dict | None:
    """Returns the entry ``info.file_set`` if it is well-formed."""
    file_set = info_of(document).get('file_set')
    names = file_set.get('files') if isinstance(file_set, dict) else None
    return file_set if isinstance(names, list) and all(map(is_bare_name, names)) else None


def _read_file_set(path: Path) -> dict | None:
    """Reads the entry ``info.file_set`` of a file; reads only the beginning of the file if the entry stands there."""
    try:
        with open(path, 'rb') as file:
            head = file.read(_HEAD_BYTES).decode('utf-8', 'replace')
        start = re.match(r'\s*\{\s*"info"\s*:\s*', head)
        if start is not None:
            return _file_set_of({'info': json.JSONDecoder().raw_decode(head, start.end())[0]})
    except OSError:
        return None
    except (ValueError, RecursionError):
        pass  # the entry is longer than the head, or the file is damaged
    try:
        return _file_set_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
