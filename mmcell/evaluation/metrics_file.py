"""Writes the JSON file with the values of an evaluation."""

import hashlib
import json
import math
from pathlib import Path

from mmcell.files.whole_files import written_whole


def write_metrics(content: dict, path: str | Path) -> None:
    """Writes a JSON file, completely or not at all.

    Numbers are not rounded. NaN, which JSON does not have, becomes null.

    Raises:
        OSError: The file cannot be written.
    """
    with written_whole([path]) as (temporary,), open(temporary, 'w', encoding='utf-8') as file:
        json.dump(_without_nan(content), file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write('\n')


def describe_file(path: str | Path) -> dict[str, str]:
    """Returns the path and the SHA-256 of a file."""
    with open(path, 'rb') as file:
        return {'path': str(path), 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}


def _without_nan(value: object) -> object:
    """Returns a value with None in place of each NaN, also inside dicts and lists."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
