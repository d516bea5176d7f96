"""Label maps as TIFF."""

import csv
from pathlib import Path

import numpy as np
import tifffile

from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import CellWriter, ImageInfo

# A larger map lies on the disk alone: 400 MB of uint32.
MAX_PIXELS_IN_MEMORY = 100_000_000
_MAX_UINT16 = 65_535


class LabelMapFile:
    """A label map that is painted part after part and becomes a TIFF.

    Where cells overlap, the one with the higher score is seen among those painted together, else the earlier one.
    uint16, zlib-compressed, where the numbers allow it, else uint32. More than ``MAX_PIXELS_IN_MEMORY`` pixels:
    uint32 on the disk from the beginning, BigTIFF, not compressed.

    Args:
        path: the file.
        image: gives the size, and the resolution that is written to the file.
    """

    def __init__(self, path: Path, image: ImageInfo) -> None:
        self.path = path
        self.shape = (image.height_px, image.width_px)
        self.options = dict(photometric='minisblack', metadata=None)
        if image.mpp is not None:
            per_cm = 1e4 / image.mpp
            self.options.update(resolution=(per_cm, per_cm), resolutionunit='CENTIMETER')
        self.map = None
        if image.height_px * image.width_px <= MAX_PIXELS_IN_MEMORY:
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


class LabelTiffWriter(CellWriter):
    """NAME_labels.tif, every cell in one label map, and the class table NAME_labels.csv (label, class, score).

    0 is background; the values are the numbers of the cells. See :class:`LabelMapFile`.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_labels.tif and NAME_labels.csv."""
        return [f'{name}_labels.tif', f'{name}_labels.csv']

    def open(self) -> None:
        """Opens both files."""
        self.file = open(self.paths[1], 'w', encoding='utf-8', newline='')
        self.table = csv.writer(self.file)
        self.table.writerow(['label', 'class', 'score'])
        self.map_file = LabelMapFile(self.paths[0], self.image)

    def write(self, cells: Cells, first_number: int) -> None:
        """Paints the cells and writes their rows."""
        numbers = first_number + np.arange(len(cells))
        self.map_file.paint(cells, numbers)
        for number, label, score in zip(numbers, cells.labels, cells.scores, strict=True):
            self.table.writerow([number, self.image.class_names[label], f'{score:.6g}'])

    def finish(self) -> None:
        """Writes the label map."""
        self.map_file.finish()

    def close(self) -> None:
        """Closes the table."""
        self.file.close()


class ClassLabelTiffWriter(CellWriter):
    """NAME_class1.tif, NAME_class2.tif, …: a label map a class, also of classes without a cell.

    The values are the numbers of the cells, so that they have gaps. See :class:`LabelMapFile`.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_class1.tif and so on."""
        return [f'{name}_class{number}.tif' for number in range(1, len(class_names) + 1)]

    def open(self) -> None:
        """Makes the maps."""
        self.map_files = [LabelMapFile(path, self.image) for path in self.paths]

    def write(self, cells: Cells, first_number: int) -> None:
        """Paints the cells of each class."""
        numbers = first_number + np.arange(len(cells))
        for label, map_file in enumerate(self.map_files):
            map_file.paint(cells.select(cells.labels == label), numbers[cells.labels == label])

    def finish(self) -> None:
        """Writes the label maps."""
        for map_file in self.map_files:
            map_file.finish()
