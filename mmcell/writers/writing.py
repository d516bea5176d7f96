"""Writes the cells of an image in several formats at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.files.whole_files import written_whole
from mmcell.writers.base import ImageInfo, WriteCells
from mmcell.writers.coco import writing_coco
from mmcell.writers.formats import FORMATS, output_paths
from mmcell.writers.geojson import writing_geojson
from mmcell.writers.imagej_rois import writing_imagej_rois
from mmcell.writers.label_pyramid import writing_label_pyramid
from mmcell.writers.label_tiff import writing_class_label_tiffs, writing_label_tiff
from mmcell.writers.measurement_csv import writing_measurement_csv
from mmcell.writers.overlay_png import writing_overlay_png

# The writer of each of the ``FORMATS``: a context manager that takes the paths of the files and the image, and yields a
# function that writes cells. The function may be called several times, with other cells of the image each time. The
# files are complete when the block ends.
_WRITERS: dict[str, Callable[[list[Path], ImageInfo], AbstractContextManager[WriteCells]]] = {
    'labels': writing_label_tiff, 'class-labels': writing_class_label_tiffs, 'label-pyramid': writing_label_pyramid,
    'geojson': writing_geojson, 'geojson-gz': partial(writing_geojson, is_compressed=True),
    'rois': writing_imagej_rois, 'coco': writing_coco, 'csv': writing_measurement_csv, 'overlay': writing_overlay_png,
    'numbers': partial(writing_overlay_png, has_numbers=True)}


@contextmanager
def writing_cells(formats: Sequence[str], folder: Path, name: str,
                  image: ImageInfo) -> Iterator[Callable[..., None]]:
    """Yields a function that writes cells of an image in several formats.

    It is called as ``write(cells)`` or ``write(cells, numbers)``, once or several times, with other cells each time. A
    cell has the same number in all formats: ``numbers`` (N,) int64, positive and different; without them cells are
    numbered from 1 in the order in which they are written. Files are renamed to their final names when the block ends:
    either all of them are complete, or all are as they were before.

    Args:
        formats: Keys of ``mmcell.writers.formats.FORMATS``.
        folder: Where the files are written.
        name: Beginning of all file names.
        image: Image to which the cells belong.

    Raises:
        OSError: A file cannot be written.
    """
    n_classes = len(image.class_names)
    with written_whole(output_paths(formats, folder, name, n_classes)) as temporary, ExitStack() as stack:
        remaining_paths = iter(temporary)
        write_functions = []
        for key in formats:
            paths = [next(remaining_paths) for _ in FORMATS[key].suffixes(n_classes)]
            write_functions.append(stack.enter_context(_WRITERS[key](paths, image)))
        n_written = 0

        def write(cells: Cells, numbers: np.ndarray | None = None) -> None:
            nonlocal n_written
            numbers = n_written + 1 + np.arange(len(cells)) if numbers is None else numbers
            for write_in_format in write_functions:
                write_in_format(cells, numbers)
            n_written += len(cells)

        yield write
