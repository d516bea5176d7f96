"""Reads text and JSON of any origin: every encoding that is sure, and one line of explanation for everything else."""

import json
import math
from pathlib import Path

from mmcell.errors import MmcellError

# Python's own functions fail with a RecursionError somewhere below a thousand levels. COCO files need six.
MAX_LEVELS = 100
# The beginnings of files that are often found under the name of another file.
_OTHER_KINDS = {
    b'version https://git-lfs': 'is a Git LFS pointer in place of the file: fetch it with: git lfs pull',
    b'\x1f\x8b': 'is compressed with gzip: unpack it with gunzip',
    b'PK\x03\x04': 'is a zip archive, or the beginning of one, and not text',
    b'\x80': 'is a pickle, for example a dump of predictions, and not text',
}


def read_text(path: str | Path, error: type[MmcellError]) -> str:
    """Returns the text of a file in UTF-8, UTF-16 or UTF-32; the arguments are those of :func:`read_json`.

    Raises:
        MmcellError: The file cannot be read, or is not text in one of these encodings.
    """
    return _decode(_read_bytes(path, error), path, error)


def read_json(path: str | Path, error: type[MmcellError]) -> object:
    """Returns the content of a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        path: The file.
        error: The class of the error that is raised.

    Raises:
        MmcellError: The file cannot be read, or :func:`parse_json` refuses its content.
    """
    return parse_json(_read_bytes(path, error), path, error)


def parse_json(content: bytes, source: str | Path, error: type[MmcellError]) -> object:
    """Returns the content of JSON.

    NaN and Infinity, which JSON does not have but Python writes, are read as numbers.

    Args:
        content: The bytes of a JSON file.
        source: The file that they come from, for the message.
        error: The class of the error that is raised.

    Raises:
        MmcellError: The content is not JSON in a known encoding, an object has a key twice (of which JSON readers
            silently take one), a number has thousands of digits, or there are more than 100 levels of nesting.
    """
    text = _decode(content, source, error)
    try:
        value = json.loads(text, object_pairs_hook=_without_repeated_keys)
        if isinstance(value, dict | list) and _is_deeper_than(value, MAX_LEVELS):
            raise RecursionError
    except json.JSONDecodeError as reason:
        raise error(f'{source}: is not JSON: {reason.msg} (line {reason.lineno}, column {reason.colno}); the file may '
                    'be cut short or damaged') from reason
    except KeyError as reason:
        raise error(f'{source}: an object in this JSON has the key {reason.args[0]!r:.60} twice') from reason
    except ValueError as reason:  # the only other one that json raises
        raise error(f'{source}: a number in this JSON has thousands of digits: correct it') from reason
    except RecursionError as reason:
        raise error(f'{source}: this JSON has more than {MAX_LEVELS} levels of objects and lists inside one '
                    'another') from reason
    return value


def _decode(content: bytes, source: str | Path, error: type[MmcellError]) -> str:
    if not content.strip():
        raise error(f'{source}: is empty ({len(content)} bytes)')
    for beginning, description in _OTHER_KINDS.items():
        if content.startswith(beginning):
            raise error(f'{source}: {description}')
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as reason:
        raise error(f'{source}: is not text in UTF-8, UTF-16 or UTF-32 (as {encoding}, it is wrong at byte '
                    f'{reason.start}); save it as UTF-8') from reason


def is_integer(value: object) -> bool:
    """Returns whether a value of a JSON file is a whole number; ``true`` is not a number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite_number(value: object) -> bool:
    """Returns whether a value of a JSON file is a number that a float can hold; ``true`` is not a number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that is larger than any float
        return False


def is_encodable(text: str) -> bool:
    """Returns whether a text can be written as UTF-8.

    A lone surrogate cannot. Python puts one in place of each byte of a file name that is not UTF-8.
    """
    return text.encode(errors='ignore').decode() == text


def _without_repeated_keys(pairs: list[tuple[str, object]]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyError(next(key for key in keys if keys.count(key) > 1))
    return record


def _read_bytes(path: str | Path, error: type[MmcellError]) -> bytes:
    try:
        return Path(path).read_bytes()
    except IsADirectoryError as reason:
        raise error(f'{path}: is a folder, but a file is expected') from reason
    except OSError as reason:
        raise error(f'{path}: cannot be read: {reason.strerror}') from reason


def _is_deeper_than(value: object, n_levels: int) -> bool:
    parents = [value]
    for _ in range(n_levels):
        children = (parent.values() if isinstance(parent, dict) else parent for parent in parents)
        # Long lists of numbers are passed over by a look at their types, which is several times faster.
        parents = [child for values in children if not {dict, list}.isdisjoint(map(type, values))
                   for child in values if isinstance(child, dict | list)]
        if not parents:
            return False
    return True
