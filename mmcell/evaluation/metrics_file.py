"""Writes the files with the values of an evaluation."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from mmcell.files.whole_files import written_whole


def write_metrics(content: dict, path: str | Path) -> None:
    """Writes a JSON file, completely or not at all.

    Numbers are not rounded. NaN, which JSON does not have, becomes null.

    Raises:
        OSError: The file cannot be written.
    """
    write_text(json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + '\n', path)


def write_csv(rows: Sequence[dict], path: str | Path) -> None:
    """Writes a CSV file with one line per row, completely or not at all.

    Numbers are not rounded. NaN becomes an empty cell.

    Args:
        rows: At least one row; the keys of the first row are the columns.
        path: The file.

    Raises:
        OSError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(_without_nan(row) for row in rows)
    write_text(text.getvalue(), path)


def write_text(text: str, path: str | Path) -> None:
    """Writes a text file in UTF-8, completely or not at all; what UTF-8 does not have is written as \\uXXXX.

    Raises:
        OSError: The file cannot be written.
    """
    with written_whole([path]) as (temporary,):
        temporary.write_text(text, encoding='utf-8', errors='backslashreplace', newline='\n')


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
