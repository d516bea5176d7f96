"""Reads a JSON file with COCO results, or a zip that holds one, with bounded time and memory."""

import zipfile
from pathlib import Path

from mmcell.errors import MmcellError, in_one_line, list_some, quote
from mmcell.files.text_files import parse_json
from mmcell.predictions.limits import LIMITS, exceeds

MEMBER = 'test-results.json'


class SubmissionError(MmcellError):
    """A submission is not valid; the message lists the errors."""


def read_packed_results(path: str | Path) -> object:
    """Returns the content of a submission: a zip with exactly ``test-results.json``, or that JSON file itself.

    Raises:
        FileNotFoundError: The file does not exist.
        SubmissionError: The zip holds other files or cannot be unpacked, the file is neither a zip nor JSON, or it is
            larger than the limits in :mod:`mmcell.predictions.limits`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'no submission {path}')
    try:
        is_zip = zipfile.is_zipfile(path)
        if not is_zip and path.stat().st_size > LIMITS.json_bytes:
            raise SubmissionError(f"{path}: {exceeds('json_bytes', f'has {path.stat().st_size:,} bytes')}")
        text = _read_member(path) if is_zip else path.read_bytes()
        n_values = sum(map(text.count, (b',', b'[', b'{')))
        if n_values > LIMITS.json_values:
            raise SubmissionError(f"{path}: {exceeds('json_values', f'holds about {n_values:,} values')}")
        return parse_json(text, path, SubmissionError)
    except SubmissionError:
        raise
    # A damaged file makes the decompressor and the parser fail in many ways.
    except Exception as error:
        raise SubmissionError(f'{path}: neither a zip with {MEMBER} nor JSON: {in_one_line(error)}') from error


def _read_member(path: Path) -> bytes:
    """Returns the JSON in a zip, after it was checked that unpacking it is bounded."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if names != [MEMBER]:
            raise SubmissionError(f'{path}: must hold exactly {MEMBER}, holds '
                                  + (list_some([quote(name) for name in names], ', ', 3) or 'nothing'))
        member, = members
        if member.flag_bits & 1:
            raise SubmissionError(f'{path}: {MEMBER} is encrypted: make the zip without a password')
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SubmissionError(f'{path}: {MEMBER} is compressed with method {member.compress_type}, which not every '
                                  'program can read: make the zip with the usual method, deflate')
        if member.file_size > LIMITS.json_bytes:
            raise SubmissionError(f"{path}: {exceeds('json_bytes', f'unfolds to {member.file_size:,} bytes')}")
        return archive.read(member)
