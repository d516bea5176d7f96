"""Writes cells as a label map with smaller copies of itself, in an OME-TIFF that viewers of slides open at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import tifffile

from mmcell.cells.cells import Cells
from mmcell.errors import escape
from mmcell.masks.painting import paint_masks
from mmcell.writers.base import ImageInfo, WriteCells
from mmcell.writers.label_tiff import MAX_PIXELS_IN_MEMORY, MAX_UINT16, resolution_tags

# The side of the tiles, and the greatest side of the smallest level.
TILE_PX = 512


@contextmanager
def writing_label_pyramid(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes all cells into one label map, with the pixels that :class:`mmcell.writers.label_tiff.LabelMapFile` has.

    The file is an OME-TIFF in tiles of ``TILE_PX``, compressed with zlib. The levels below the full resolution are
    SubIFDs, as the specification of OME-TIFF describes them. Each takes every second pixel of every second row of the
    level above, so that values stay numbers of cells, until no side is longer than ``TILE_PX``.

    The type is uint16 if no number is above 65535, otherwise int32: QuPath's reader of Bio-Formats images
    (``OMEPixelParser.java``) refuses uint32, and numbers of cells are at most 2^31 - 1.

    If there are more than ``MAX_PIXELS_IN_MEMORY`` pixels, the map is painted on the disk, which takes 4 bytes per
    pixel of all levels beside the file until it is complete, and the file is a BigTIFF.
    """
    path, = paths
    shape = image.height_px, image.width_px
    is_large = image.height_px * image.width_px > MAX_PIXELS_IN_MEMORY
    greatest_number = 0
    with ExitStack() as stack:
        levels = [stack.enter_context(_open_map(level, path.parent if is_large else None))
                  for level in level_shapes(shape)]

        def write(cells: Cells, numbers: np.ndarray) -> None:
            nonlocal greatest_number
            paint_masks(levels[0].array(), cells.masks.positions, cells.masks.areas_px, cells.scores, numbers)
            greatest_number = max(greatest_number, numbers.max(initial=0))

        yield write
        _write_levels(path, levels, image, np.uint16 if greatest_number <= MAX_UINT16 else np.int32, is_large)


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns height and width in px of each level, the full resolution first.

    (1025, 600) is followed by (513, 300) and (257, 150).
    """
    shapes = [shape]
    while max(shapes[-1]) > TILE_PX:
        height, width = shapes[-1]
        shapes.append(((height + 1) // 2, (width + 1) // 2))
    return shapes


class _LabelMap:
    """A label map in memory, or in an open file, whose pages are in memory only while an array of them exists."""

    def __init__(self, shape: tuple[int, int], file: object | None) -> None:
        self.shape, self._file = shape, file
        self._in_memory = np.zeros(shape, np.int32) if file is None else None

    def array(self) -> np.ndarray:
        """Returns the map, (H, W) int32; what is written into it stays.

        The file is mapped again by each call: all parts of a mapping that were ever used count as memory of the process
        until the mapping is closed.
        """
        return np.memmap(self._file, np.int32, 'r+', shape=self.shape) if self._in_memory is None else self._in_memory


@contextmanager
def _open_map(shape: tuple[int, int], folder: Path | None) -> Iterator[_LabelMap]:
    """Yields an empty label map: in memory without a folder, otherwise in a file in it that vanishes with the process.

    The file has no name, so that even a killed process leaves nothing behind.
    """
    if folder is None:
        yield _LabelMap(shape, None)
        return
    with TemporaryFile(dir=folder) as file:
        yield _LabelMap(shape, file)


def _write_levels(path: Path, levels: list[_LabelMap], image: ImageInfo, dtype: type, is_bigtiff: bool) -> None:
    """Writes all levels, of which the first has the cells and the others are still empty."""
    # tifffile would make an identifier of the time and the computer. Equal cells make equal files.
    metadata = {'axes': 'YX', 'UUID': str(uuid5(NAMESPACE_URL, escape(image.path.name)))}
    if image.mpp is not None:
        metadata.update({f'PhysicalSize{axis}{end}': value for axis in 'XY'
                         for end, value in (('', image.mpp), ('Unit', 'µm'))})
    of_level = [dict(subifds=len(levels) - 1, metadata=metadata, **resolution_tags(image.mpp)),
                *[dict(subfiletype=1, metadata=None)] * (len(levels) - 1)]
    with tifffile.TiffWriter(path, ome=True, bigtiff=is_bigtiff) as file:
        for level, smaller, options in zip(levels, [*levels[1:], None], of_level, strict=True):
            # With more workers, tifffile would collect hundreds of tiles before it compresses the first one.
            file.write(_iterate_tiles(level, smaller, dtype), shape=level.shape, dtype=dtype, tile=(TILE_PX, TILE_PX),
                       compression='zlib', photometric='minisblack', maxworkers=1, **options)


def _iterate_tiles(level: _LabelMap, smaller: _LabelMap | None, dtype: type) -> Iterator[np.ndarray]:
    """Yields the tiles of a level, row by row, and fills the next smaller level on the way."""
    height, width = level.shape
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            tile = level.array()[y:y + TILE_PX, x:x + TILE_PX]
            if smaller is not None:
                # TILE_PX is even, so that every second pixel of the tiles is every second pixel of the level.
                smaller.array()[y // 2:(y + TILE_PX) // 2, x // 2:(x + TILE_PX) // 2] = tile[::2, ::2]
            yield tile.astype(dtype)
