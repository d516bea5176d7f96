"""A table of measurements."""

import csv

from mmcell.inference.cells import Cells
from mmcell.inference.measurements import measure_cells
from mmcell.inference.writers.base import CellWriter


class MeasurementCsvWriter(CellWriter):
    """NAME_cells.csv: image, number, class and score of each cell, and :func:`measure_cells`, a row a cell.

    Columns in um are there where the micrometres a pixel are known.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_cells.csv."""
        return [f'{name}_cells.csv']

    def open(self) -> None:
        """Opens the file."""
        self.file = open(self.paths[0], 'w', encoding='utf-8', newline='')
        self.table = csv.writer(self.file)
        nothing = Cells.none(self.image.height_px, self.image.width_px)
        self.table.writerow(['image', 'cell', 'class', 'score', *measure_cells(nothing, self.image.mpp)])

    def write(self, cells: Cells, first_number: int) -> None:
        """Writes a row for each cell."""
        columns = [values.tolist() for values in measure_cells(cells, self.image.mpp).values()]
        for i, (label, score) in enumerate(zip(cells.labels, cells.scores, strict=True)):
            self.table.writerow([self.image.path.name, first_number + i, self.image.class_names[label], f'{score:.6g}',
                                 *(f'{values[i]:.8g}' for values in columns)])

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
