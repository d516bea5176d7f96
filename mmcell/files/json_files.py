"""Reading of text and JSON files that other programs wrote, in any encoding that can be recognised."""

import codecs
import json
from pathlib import Path

from mmcell.errors import escape
from mmcell.files.folders import FileError, refuse_unusable


def read_text(path: str | Path) -> str:
    """Reads a text file in UTF-8 or, if it begins with a byte order mark, in UTF-16.

    Raises:
        FileError: The file is missing, cannot be read, or is in another encoding.
    """
    refuse_unusable(path)
    content = Path(path).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode('utf-16' if is_utf16 else 'utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b'\n') + 1
        raise FileError(f'{path}: is not text in UTF-8: line {line} has the byte '
                               f'0x{content[error.start]:02x}: save the file as UTF-8') from error


def read_json(path: str | Path) -> object:
    """Reads a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        FileError: The file is missing, cannot be read, is not JSON, or is nested too deeply.
    """
    refuse_unusable(path)
    try:
        return json.loads(Path(path).read_bytes())
    except UnicodeDecodeError as error:  # its text would contain the whole file
        raise FileError(f'{path}: is not JSON in UTF-8: the byte 0x{error.object[error.start]:02x} at position '
                               f'{error.start} is not part of a character: save the file as UTF-8') from error
    # json raises ValueError also for numbers of thousands of digits, and RecursionError for too many nested levels.
    except (ValueError, RecursionError) as error:
        raise FileError(f'{path}: is not JSON: {escape(error)}') from error
