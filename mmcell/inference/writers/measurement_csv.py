"""Writes a CSV table with measurements of the cells."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import measure_cells
from mmcell.inference.writers.base import ImageInfo, WriteCells, writing_table


def writing_measurement_csv(paths: list[Path], image: ImageInfo) -> AbstractContextManager[WriteCells]:
    """Writes one row per cell: image, number, class, score and the values of :func:`measure_cells`.

    The columns in micrometres exist only if the micrometres per pixel are known.
    """
    def to_rows(cells: Cells, first_number: int) -> Iterator[list]:
        rows = zip(cells.labels, cells.scores.tolist(), *measure_cells(cells, image.mpp).values(), strict=True)
        for number, (label, score, *measured) in enumerate(rows, start=first_number):
            yield [image.path.name, number, image.class_names[label], f'{score:.6g}',
                   *(f'{value:.8g}' for value in measured)]

    columns = measure_cells(Cells.empty(image.height_px, image.width_px), image.mpp)
    return writing_table(paths[0], ['image', 'cell', 'class', 'score', *columns], to_rows)
