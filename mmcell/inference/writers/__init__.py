"""Files of cells that other tools open, one format a module."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmcell.files.whole_files import written_whole
from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import ImageInfo, WriteCells
from mmcell.inference.writers.coco import writing_coco
from mmcell.inference.writers.geojson import writing_geojson
from mmcell.inference.writers.imagej_rois import writing_imagej_rois
from mmcell.inference.writers.label_tiff import writing_class_label_tiffs, writing_label_tiff
from mmcell.inference.writers.measurement_csv import writing_measurement_csv
from mmcell.inference.writers.overlay_png import writing_overlay_png

__all__ = ['FORMATS', 'Format', 'ImageInfo', 'output_paths', 'writing_cells']


@dataclass(frozen=True)
class Format:
    """A kind of output.

    Attributes:
        writing: context manager over the files' paths and the image; gives a function that writes cells, which may be
            called for one part of the image after the other. The files are complete when it ends.
        suffixes: what comes after an image's name in the files' names, given the number of classes.
    """

    writing: Callable[[list[Path], ImageInfo], AbstractContextManager[WriteCells]]
    suffixes: Callable[[int], list[str]]


# No suffix ends with another: outputs of differently named images cannot meet.
FORMATS = {
    'labels': Format(writing_label_tiff, lambda n_classes: ['_labels.tif', '_labels.csv']),
    'class-labels': Format(writing_class_label_tiffs,
                           lambda n_classes: [f'_class{number}.tif' for number in range(1, n_classes + 1)]),
    'geojson': Format(writing_geojson, lambda n_classes: ['.geojson']),
    'rois': Format(writing_imagej_rois, lambda n_classes: ['_rois.zip']),
    'coco': Format(writing_coco, lambda n_classes: ['_coco.json']),
    'csv': Format(writing_measurement_csv, lambda n_classes: ['_cells.csv']),
    'overlay': Format(writing_overlay_png, lambda n_classes: ['_overlay.png'])}


def output_paths(formats: Sequence[str], folder: Path, name: str, n_classes: int) -> list[Path]:
    """The files that :func:`writing_cells` writes for an image called ``name``."""
    return [folder / f'{name}{suffix}' for key in formats for suffix in FORMATS[key].suffixes(n_classes)]


@contextmanager
def writing_cells(formats: Sequence[str], folder: Path, name: str,
                  image: ImageInfo) -> Iterator[Callable[[Cells], None]]:
    """Gives a function that writes cells of an image in several formats; to be called once, or part after part.

    Cells are numbered from 1 in the order in which they come, alike in all formats. The files get their names when the
    block ends: they are all complete, or as they were before.

    Args:
        formats: keys of ``FORMATS``.
        folder: of the files.
        name: what their names begin with.
        image: the image that the cells are of.

    Raises:
        OSError: a file cannot be written.
    """
    n_classes = len(image.class_names)
    with written_whole(output_paths(formats, folder, name, n_classes)) as temporary, ExitStack() as stack:
        rest = iter(temporary)
        writes = []
        for key in formats:
            paths = [next(rest) for _ in FORMATS[key].suffixes(n_classes)]
            writes.append(stack.enter_context(FORMATS[key].writing(paths, image)))
        n_written = 0

        def write(cells: Cells) -> None:
            nonlocal n_written
            for write_format in writes:
                write_format(cells, n_written + 1)
            n_written += len(cells)

        yield write
