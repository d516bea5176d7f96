"""Files of cells that other tools open, one format a module."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import CellWriter, ImageInfo
from mmcell.inference.writers.coco import CocoWriter
from mmcell.inference.writers.geojson import GeoJsonWriter
from mmcell.inference.writers.imagej_rois import ImageJRoiWriter
from mmcell.inference.writers.label_tiff import ClassLabelTiffWriter, LabelTiffWriter
from mmcell.inference.writers.measurement_csv import MeasurementCsvWriter
from mmcell.inference.writers.overlay_png import OverlayWriter
from mmcell.whole_files import written_whole

WRITERS: dict[str, type[CellWriter]] = {
    'labels': LabelTiffWriter, 'class-labels': ClassLabelTiffWriter, 'geojson': GeoJsonWriter,
    'rois': ImageJRoiWriter, 'coco': CocoWriter, 'csv': MeasurementCsvWriter, 'overlay': OverlayWriter}

__all__ = ['WRITERS', 'CellWriter', 'ImageInfo', 'output_paths', 'writing_cells']


def output_paths(formats: Sequence[str], folder: Path, name: str, class_names: list[str]) -> list[Path]:
    """The files that :func:`writing_cells` writes for an image called ``name``."""
    return [folder / file for key in formats for file in WRITERS[key].file_names(name, class_names)]


@contextmanager
def writing_cells(formats: Sequence[str], folder: Path, name: str,
                  image: ImageInfo) -> Iterator[Callable[[Cells], None]]:
    """Gives a function that writes cells of an image in several formats; to be called once, or part after part.

    The files get their names when the block ends: they are all complete, or as they were before.

    Args:
        formats: keys of ``WRITERS``.
        folder: of the files.
        name: what their names begin with.
        image: the image that the cells are of.

    Raises:
        OSError: a file cannot be written.
    """
    with written_whole(output_paths(formats, folder, name, image.class_names)) as temporary, ExitStack() as stack:
        rest = iter(temporary)
        writers = [stack.enter_context(
            WRITERS[key]([next(rest) for _ in WRITERS[key].file_names(name, image.class_names)], image))
            for key in formats]
        n_written = 0

        def write(cells: Cells) -> None:
            nonlocal n_written
            for writer in writers:
                writer.write(cells, n_written + 1)
            n_written += len(cells)

        yield write
