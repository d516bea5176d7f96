"""Writes cells as label maps in TIFF files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from mmcell.cells.cells import Cells
from mmcell.masks.painting import paint_masks, visible_areas_px
from mmcell.writers.base import ImageInfo, WriteCells, writing_table

# Label maps with more pixels (the maps of all classes counted together) are kept on the disk, not in memory. As uint32,
# this many pixels take 400 MB.
MAX_PIXELS_IN_MEMORY = 100_000_000
MAX_UINT16 = 65_535


class LabelMapFile:
    """A label map into which cells are painted by several calls, and which becomes a TIFF file.

    Where cells of the same call overlap, the pixels go to the cell that :func:`mmcell.masks.painting.painting_order`
    names: the one with the higher score, of equal scores the smaller one. Where cells of different calls overlap, they
    go to the cell that was painted first. The file is compressed with zlib, and has the type uint16
    if no number is above 65535, otherwise uint32. If there are more than ``MAX_PIXELS_IN_MEMORY`` pixels, the map lies
    on the disk from the beginning, as an uncompressed BigTIFF of type uint32.

    Args:
        path: The TIFF file.
        image: Image whose size the map gets, and whose micrometres per pixel are written as resolution.
        n_maps: Number of label maps that are painted at the same time, and share the limit of pixels.
    """

    def __init__(self, path: Path, image: ImageInfo, n_maps: int = 1) -> None:
        self.path = path
        self.shape = (image.height_px, image.width_px)
        self.options = dict(photometric='minisblack', metadata=None, **resolution_tags(image.mpp))
        self.map = None
        if n_maps * image.height_px * image.width_px <= MAX_PIXELS_IN_MEMORY:
            self.map = np.zeros(self.shape, np.uint32)
        else:
            tifffile.memmap(path, shape=self.shape, dtype=np.uint32, bigtiff=True, **self.options).flush()

    def paint(self, cells: Cells, numbers: np.ndarray) -> None:
        """Paints N cells with the values ``numbers`` (N,) int64."""
        # The file is mapped again for each call: all parts of a mapping that were ever written count as memory of the
        # process until the mapping is closed.
        label_map = tifffile.memmap(self.path, mode='r+') if self.map is None else self.map
        paint_masks(label_map, cells.masks.positions, cells.masks.areas_px, cells.scores, numbers)

    def finish(self) -> None:
        """Writes the file, unless the map is on the disk already."""
        if self.map is not None:
            dtype = np.uint16 if self.map.max(initial=0) <= MAX_UINT16 else np.uint32
            tifffile.imwrite(self.path, self.map.astype(dtype), compression='zlib', **self.options)


def resolution_tags(mpp: float | None) -> dict:
    """Returns the arguments of tifffile for images with so many micrometres per pixel; none if they are not known."""
    return {} if mpp is None else dict(resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit='CENTIMETER')


def count_hidden_cells(cells: Cells, by_class: bool) -> tuple[int, int]:
    """Counts the cells that lose pixels to others in a label map, and those of them of which no pixel is left.

    Args:
        cells: The cells of an image, painted by one call.
        by_class: Whether each class has a label map of its own, so that only cells of one class compete.
    """
    positions, area_px = cells.masks.positions, cells.masks.areas_px
    if by_class:
        positions = positions + np.repeat(cells.labels, area_px) * cells.masks.height * cells.masks.width
    visible_px = visible_areas_px(positions, area_px, cells.scores)
    return np.count_nonzero(visible_px < area_px), np.count_nonzero(visible_px == 0)


@contextmanager
def writing_label_tiff(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes all cells into one label map, and a CSV table with the columns label, class and score.

    0 is background; the other values are the numbers of the cells. See :class:`LabelMapFile` for overlaps and types.
    Without scores there is no column of scores.
    """
    map_path, table_path = paths
    label_map = LabelMapFile(map_path, image)

    def paint(cells: Cells, numbers: np.ndarray) -> Iterator[tuple]:
        label_map.paint(cells, numbers)
        for number, label, score in zip(numbers, cells.labels, cells.scores.tolist(), strict=True):
            yield number, image.class_names[label], *image.only_with_scores(f'{score:.6g}')

    with writing_table(table_path, ['label', 'class', *image.only_with_scores('score')], paint) as write:
        yield write
    label_map.finish()


@contextmanager
def writing_class_label_tiffs(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes one label map per class, also for classes without cells.

    The values are the numbers that the cells have in all formats, so that each map has gaps in its numbers. See
    :class:`LabelMapFile` for overlaps and types.
    """
    label_maps = [LabelMapFile(path, image, len(paths)) for path in paths]

    def write(cells: Cells, numbers: np.ndarray) -> None:
        for label, label_map in enumerate(label_maps):
            label_map.paint(cells.take(cells.labels == label), numbers[cells.labels == label])

    yield write
    for label_map in label_maps:
        label_map.finish()
