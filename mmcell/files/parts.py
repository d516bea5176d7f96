"""Files in parts of a limited size, which are joined and checked without any further file.

A file that is too large is written as ``NAME-<digits>.pth.1-of-3``, ``NAME-<digits>.pth.2-of-3`` … The digits are the
first eight of the SHA-256 sum of the whole. ``cat NAME-<digits>.pth.*-of-3 > NAME-<digits>.pth`` joins the parts, too.
"""

import hashlib
import re
from pathlib import Path

from mmcell.errors import MmcellError, list_some
from mmcell.files.whole_files import written_whole

_PART = re.compile(r'\.(\d+)-of-(\d+)$')
_DIGITS = re.compile(r'-([0-9a-f]{8})$')


class PartsError(MmcellError):
    """A file cannot be joined from its parts; the message says which part is missing or damaged."""


def write_parts(content: bytes, path: str | Path, part_bytes: int, replaces: bool = False) -> list[Path]:
    """Writes a file, in parts if it is larger than a part may be.

    Args:
        content: The content of the file.
        path: Its name; the first digits of its check sum are put before the suffix.
        part_bytes: The greatest number of bytes of a part.
        replaces: Whether the files of the same name, with any digits, that lie beside it are removed: for folders in
            which nobody else keeps files.

    Returns:
        The files that were written.
    """
    path = Path(path)
    whole = path.with_name(f'{path.stem}-{_digits_of(content)}{path.suffix}')
    n_parts = max(-(-len(content) // part_bytes), 1)
    paths = [whole] if n_parts == 1 else [
        whole.with_name(f'{whole.name}.{number:0{len(str(n_parts))}}-of-{n_parts}') for number in range(1, n_parts + 1)]
    with written_whole(paths) as temporary:
        for number, part in enumerate(temporary):
            part.write_bytes(content[number * part_bytes:(number + 1) * part_bytes])
    for old in find_written(path) if replaces else ():
        if old not in paths:
            old.unlink()
    return paths


def find_written(path: str | Path) -> list[Path]:
    """Returns the files that :func:`write_parts` wrote for a path, sorted by name; an empty list if there are none.

    Where a whole file lies beside its parts, because they were joined, the parts are meant.
    """
    path = Path(path)
    name = re.compile(rf'{re.escape(path.stem)}-[0-9a-f]{{8}}{re.escape(path.suffix)}(\.\d+-of-\d+)?')
    found = sorted(written for written in path.parent.glob('*') if name.fullmatch(written.name))
    joined = {_PART.sub('', part.name) for part in found if _PART.search(part.name)}
    return [written for written in found if written.name not in joined]


def find_parts(path: str | Path) -> tuple[Path, list[Path]]:
    """Returns the path of a whole file, and its parts in their order; or the file itself, if it is not in parts.

    Args:
        path: The name of the file without the number of a part, or one of its parts.

    Raises:
        PartsError: There is no such file, a part is missing, or parts of several divisions lie side by side.
    """
    path = Path(path)
    whole = path.with_name(_PART.sub('', path.name))
    numbered = {(int(match[1]), int(match[2])): part for part in whole.parent.glob('*')
                if (match := _PART.search(part.name)) and part.name == whole.name + match[0]}
    totals = sorted({total for _, total in numbered})
    if not totals and not whole.is_file():
        raise PartsError(f'there is neither a file {whole} nor a part of it, {whole.name}.1-of-N')
    if len(totals) > 1:
        raise PartsError(f'{whole}: there are parts of {" and of ".join(map(str, totals))}: move those of one of them '
                         'away')
    missing = [str(number) for total in totals for number in range(1, total + 1) if (number, total) not in numbered]
    if missing:
        raise PartsError(f'{whole}: of {totals[0]} parts, these are missing: {list_some(missing, ", ")}')
    return whole, [numbered[key] for key in sorted(numbered)] or [whole]


def join_parts(path: str | Path) -> tuple[Path, bytes]:
    """Joins the parts of a file, and compares the whole with the check sum in its name, if there is one.

    Args:
        path: As for :func:`find_parts`.

    Returns:
        The path of the whole file, and its content.

    Raises:
        PartsError: As for :func:`find_parts`, or the content was changed.
    """
    whole, parts = find_parts(path)
    content = b''.join(part.read_bytes() for part in parts)
    named = _DIGITS.search(whole.stem)
    if named and named[1] != _digits_of(content):
        raise PartsError(f'{whole}: the SHA-256 sum of {"its parts" if parts != [whole] else "the file"} does not '
                         f'begin with {named[1]}, as its name says: take another copy')
    return whole, content


def _digits_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
