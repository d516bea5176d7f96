"""Writes a CSV table with measurements of the cells."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import measure_cells
from mmcell.inference.writers.base import ImageInfo, WriteCells


@contextmanager
def writing_measurement_csv(paths: list[Path], image: ImageInfo) -> Iterator[WriteCells]:
    """Writes one row per cell: image, number, class, score and the values of :func:`measure_cells`.

    The columns in micrometres exist only if the micrometres per pixel are known.
    """
    # Bytes of a file name that are not UTF-8 are written as escapes.
    with open(paths[0], 'w', encoding='utf-8', errors='backslashreplace', newline='') as file:
        table = csv.writer(file)
        columns = measure_cells(Cells.empty(image.height_px, image.width_px), image.mpp)
        table.writerow(['image', 'cell', 'class', 'score', *columns])

        def write(cells: Cells, first_number: int) -> None:
            rows = zip(cells.labels, cells.scores.tolist(), *measure_cells(cells, image.mpp).values(), strict=True)
            for number, (label, score, *measured) in enumerate(rows, start=first_number):
                table.writerow([image.path.name, number, image.class_names[label], f'{score:.6g}',
                                *(f'{value:.8g}' for value in measured)])

        yield write
