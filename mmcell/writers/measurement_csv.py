"""Writes a CSV table with measurements of the cells."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.cells.measurements import measure_cells
from mmcell.writers.base import ImageInfo, WriteCells, writing_table


def writing_measurement_csv(paths: list[Path], image: ImageInfo) -> AbstractContextManager[WriteCells]:
    """Writes one row per cell: image, number, class, score if there are scores, and the values of
    :func:`measure_cells`.

    The columns in micrometres exist only if the micrometres per pixel are known.
    """
    def to_rows(cells: Cells, numbers: np.ndarray) -> Iterator[list]:
        rows = zip(numbers, cells.labels, cells.scores.tolist(), *measure_cells(cells, image.mpp).values(), strict=True)
        for number, label, score, *measured in rows:
            yield [image.path.name, number, image.class_names[label], *image.only_with_scores(f'{score:.6g}'),
                   *(f'{value:.8g}' for value in measured)]

    columns = measure_cells(Cells.empty(image.height_px, image.width_px), image.mpp)
    return writing_table(paths[0], ['image', 'cell', 'class', *image.only_with_scores('score'), *columns], to_rows)
