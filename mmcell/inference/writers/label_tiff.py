"""Label maps as TIFF."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import ImageInfo, WriteCells

# Larger maps, those of all classes together, lie on the disk alone: 400 MB of uint32.
MAX_PIXELS_IN_MEMORY = 100_000_000
_MAX_UINT16 = 65_535


class LabelMapFile:
    """A label map that is painted part after part and becomes a TIFF.

    Where cells overlap, the one with the higher score is seen among those painted together, else the earlier one.
    uint16, zlib-compressed, where the numbers allow it, else uint32. More than ``MAX_PIXELS_IN_MEMORY`` pixels in all:
    uint32 on the disk from the beginning, BigTIFF, not compressed.

    Args:
        path: the file.
        image: gives the size, and the resolution that is written to the file.
        n_maps: how many such maps are painted at the same time.
    """

    def __init__(self, path: Path, image: ImageInfo, n_maps: int = 1) -> None:
        self.path = path
        self.shape = (image.height_px, image.width_px)
        self.options = dict(photometric='minisblack', metadata=None)
        if image.mpp is not None:
            per_cm = 1e4 / image.mpp
            self.options.update(resolution=(per_cm, per_cm), resolutionunit='CENTIMETER')
        self.map = None
        if n_maps * image.height_px * image.width_px <= MAX_PIXELS_IN_MEMORY:
            self.map = np.zeros(self.shape, np.uint32)
        else:
            tifffile.memmap(path, shape=self.shape, dtype=np.uint32, bigtiff=True, **self.options).flush()

    def paint(self, cells: Cells, numbers: np.ndarray) -> None:
        """Paints cells; ``numbers`` (N,) are their values."""
        # Opened for each part: what a mapping has touched counts as memory of the process.
        label_map = tifffile.memmap(self.path, mode='r+') if self.map is None else self.map
        x, y, area = cells.pixels
        rank = np.empty(len(cells), np.int64)
        rank[np.argsort(-cells.scores, kind='stable')] = np.arange(len(cells))
        # Of several values for one pixel numpy keeps the last.
        order = np.argsort(-np.repeat(rank, area), kind='stable')
        x, y, values = x[order], y[order], np.repeat(numbers, area)[order]
        free = label_map[y, x] == 0
        label_map[y[free], x[free]] = values[free]

    def finish(self) -> None:
        """Writes the file, where it is not on the disk already."""
        if self.map is not None:
            dtype = np.uint16 if self.map.max(initial=0) <= _MAX_UINT16 else np.uint32
            tifffile.imwrite(self.path, self.map.astype(dtype), compression='zlib', **self.options)


@contextmanager
def writing_label_tiff(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Every cell in one label map, and a class table (CSV: label, class, score).

    0 is background; the values are the numbers of the cells. See :class:`LabelMapFile`.
    """
    map_path, table_path = paths
    label_map = LabelMapFile(map_path, image)
    with open(table_path, 'w', encoding='utf-8', newline='') as file:
        table = csv.writer(file)
        table.writerow(['label', 'class', 'score'])

        def write(cells: Cells, first_number: int) -> None:
            numbers = first_number + np.arange(len(cells))
            label_map.paint(cells, numbers)
            for number, label, score in zip(numbers, cells.labels, cells.scores, strict=True):
                table.writerow([number, image.class_names[label], f'{score:.6g}'])

        yield write
    label_map.finish()


@contextmanager
def writing_class_label_tiffs(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """A label map a class, also of classes without a cell.

    The values are the numbers of the cells, so that they have gaps. See :class:`LabelMapFile`.
    """
    label_maps = [LabelMapFile(path, image, len(paths)) for path in paths]

    def write(cells: Cells, first_number: int) -> None:
        numbers = first_number + np.arange(len(cells))
        for label, label_map in enumerate(label_maps):
            label_map.paint(cells.select(cells.labels == label), numbers[cells.labels == label])

    yield write
    for label_map in label_maps:
        label_map.finish()
