"""Reads GeoJSON files, plain, compressed with gzip or in a zip, unless they would fill the memory."""

import gzip
import io
import zipfile
from pathlib import Path

from mmcell.files.archives import unpacking
from mmcell.files.folders import refuse_unusable
from mmcell.files.free_memory import find_free_memory
from mmcell.files.text_files import parse_json
from mmcell.layouts.base import LayoutError

_MAX_BYTES, _CHUNK_BYTES = 2 ** 30, 2 ** 20
# What JSON takes as lists and dicts of Python, in bytes: per byte of the text, and in addition per list and per object.
# Measured with CPython 3.11: 13 bytes per byte of outlines of cells, 29 of empty lists, 31 of the smallest objects.
_MEMORY_PER_BYTE, _MEMORY_PER_LIST, _MEMORY_PER_OBJECT = 13, 50, 125


def read_geojson(path: Path) -> object:
    """Returns the content of a JSON file, which may be compressed with gzip, or the only file in a zip.

    Raises:
        FileError: The file does not exist, or cannot be read.
        LayoutError: It is not JSON, has more than 1 GB when it is unpacked, or would take more memory than is free.
    """
    refuse_unusable(path)
    content = path.read_bytes()
    with unpacking(path, LayoutError):
        if content.startswith(b'\x1f\x8b'):
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = _read_bounded(file, path)
        elif content.startswith(b'PK'):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = [name for name in archive.namelist() if name.lower().endswith(('.geojson', '.json'))
                         and not name.startswith('__MACOSX')]
                if len(names) != 1:
                    raise LayoutError(f'{path}: has {len(names)} GeoJSON files; one is expected')
                with archive.open(names[0]) as file:
                    content = _read_bounded(file, path)
    _refuse_to_fill_memory(content, path)
    return parse_json(content, path, LayoutError)


def _read_bounded(file: io.BufferedIOBase, path: Path) -> bytes:
    content = io.BytesIO()
    # A read of the whole limit would reserve as much memory for the smallest file.
    while chunk := file.read(_CHUNK_BYTES):
        if content.tell() + len(chunk) > _MAX_BYTES:
            raise LayoutError(f'{path}: unfolds to more than 1 GB: export parts of the image')
        content.write(chunk)
    return content.getvalue()


def _refuse_to_fill_memory(content: bytes, path: Path) -> None:
    """Raises a LayoutError if JSON would take more memory than is free: a packed file of 1 MB can be meant to do so."""
    needed = (_MEMORY_PER_BYTE * len(content) + _MEMORY_PER_LIST * content.count(b'[')
              + _MEMORY_PER_OBJECT * content.count(b'{'))
    free = find_free_memory()
    if free is not None and needed > free:
        raise LayoutError(f'{path}: takes about {needed / 1e9:.3g} GB of memory to read, but {free / 1e9:.3g} GB are '
                          'free: export parts of the image')
