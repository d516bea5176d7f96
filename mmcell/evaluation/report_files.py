"""Writes the files with the values of an evaluation; their suffixes say in which format they are."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from mmcell.evaluation.table_formats import ValueTable, to_latex, to_markdown
from mmcell.files.whole_files import written_whole

_TABLE_FORMATS = {'.md': to_markdown, '.tex': to_latex}


def write_report(path: str | Path, content: dict, tables: Sequence[ValueTable], rows: Sequence[dict]) -> None:
    """Writes values to a file, completely or not at all. Only tables are rounded.

    Args:
        path: The file. ``.md`` and ``.tex`` get the tables, ``.csv`` the rows, every other suffix JSON.
        content: The content of the JSON file; NaN becomes null.
        tables: The tables.
        rows: At least one row; the keys of the first row are the columns. NaN becomes an empty cell.

    Raises:
        OSError: The file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix in _TABLE_FORMATS:
        text = '\n'.join(map(_TABLE_FORMATS[suffix], tables))
    elif suffix == '.csv':
        file = io.StringIO()
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(map(_without_nan, rows))
        text = file.getvalue()
    else:
        write_metrics(content, path)
        return
    _write_text(text, path)


def write_metrics(content: dict, path: str | Path) -> None:
    """Writes a JSON file, completely or not at all. Numbers are not rounded; NaN, which JSON lacks, becomes null.

    Raises:
        OSError: The file cannot be written.
    """
    _write_text(json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + '\n', path)


def _write_text(text: str, path: str | Path) -> None:
    with written_whole([path]) as (temporary,):
        # What UTF-8 does not have is written as \uXXXX.
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
