"""JSON documents with one list that has an entry for each cell."""

import json
from abc import abstractmethod
from collections.abc import Iterable

from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import CellWriter


class JsonListWriter(CellWriter):
    """Writes a JSON object whose last member is a list of records, one a line; none is kept."""

    @abstractmethod
    def members(self) -> dict:
        """The members before the list; the last is the list's name with an empty list."""

    @abstractmethod
    def records(self, cells: Cells, first_number: int) -> Iterable[dict]:
        """The records of some cells."""

    def open(self) -> None:
        """Writes the members and the beginning of the list."""
        self.file = open(self.paths[0], 'w', encoding='utf-8')
        self.file.write(json.dumps(self.members(), ensure_ascii=False).removesuffix(']}'))
        self.separator = '\n'

    def write(self, cells: Cells, first_number: int) -> None:
        """Writes a line for each cell."""
        for record in self.records(cells, first_number):
            self.file.write(self.separator + json.dumps(record, ensure_ascii=False, separators=(',', ':')))
            self.separator = ',\n'

    def finish(self) -> None:
        """Ends the list."""
        self.file.write('\n]}\n')

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
