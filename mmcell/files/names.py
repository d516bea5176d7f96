"""Names of files: when two of them are the same, and short names."""

import unicodedata

from mmcell.files.text_files import is_encodable

_MAX_BYTES = 200


def name_key(name: str) -> str:
    """Returns a key that is equal for names that some file systems take for the same name.

    Windows and macOS ignore upper and lower case; macOS also takes a letter with an accent and the same letter
    followed by the accent (the forms NFC and NFD of Unicode) for the same.
    """
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


def is_bare_name(value: object) -> bool:
    """Returns whether a value of a JSON file is the name of a file without folders, in text that UTF-8 can hold."""
    return (isinstance(value, str) and value not in ('', '.', '..') and not {'/', '\\', '\0'} & set(value)
            and is_encodable(value))


def shorten_name(name: str) -> str:
    """Returns the beginning of a long name: file systems allow 255 bytes, of which prefixes and suffixes need some."""
    is_short = len(name.encode('utf-8', 'surrogateescape')) <= _MAX_BYTES
    return name if is_short else name.encode(errors='ignore')[:_MAX_BYTES].decode(errors='ignore')
