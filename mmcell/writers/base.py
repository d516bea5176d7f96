"""What the writers of all formats share: their types, and files that grow record by record."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from gzip import GzipFile
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.cells.regions import Regions

# A function that writes N cells of an image. Its second argument is their numbers, (N,) int64.
WriteCells = Callable[[Cells, np.ndarray], None]
# Bytes of a file name that are not UTF-8 are written as escapes like \udce4, which JSON also has.
TEXT = dict(encoding='utf-8', errors='backslashreplace', newline='')
# The level of the command gzip. Level 9 took longer for GeoJSON, and made files that were 1 % smaller.
_GZIP_LEVEL = 6


@dataclass(frozen=True)
class ImageInfo:
    """An image whose cells are written.

    Attributes:
        path: The image file.
        height_px: Height of the image.
        width_px: Width of the image.
        class_names: Names of the classes; a label is an index of this list.
        mpp: Micrometres per pixel; None if not known.
        pixels: (H, W, 3) uint8 RGB. None for an image that is too large to be held in memory as a whole; it gets no
            overlay.
        channel_order: 'rgb' or 'bgr', as the file was read; None if not known.
        has_scores: Whether the cells have scores. True cells have none: their files say nothing about scores.
        has_file: Whether the file exists, so that the values of its pixels can be measured.
        neighbour_um: Cells whose centroids are at most so far apart are neighbours, in micrometres.
        regions: The regions that all cells lie in; None if there are none.
        unwritten_xy_px: Centroids, (M, 2) float in px each, of cells that are not written because they lie in no
            region, but are neighbours of cells that are. They may be added as long as cells are written.
        is_editable: Whether QuPath is to take the cells for annotations, whose shape can be edited there, and not for
            detections, which it shows faster.
    """

    path: Path
    height_px: int
    width_px: int
    class_names: list[str]
    mpp: float | None = None
    pixels: np.ndarray | None = None
    channel_order: str | None = None
    has_scores: bool = True
    has_file: bool = False
    neighbour_um: float = 20.
    regions: Regions | None = None
    unwritten_xy_px: list[np.ndarray] = field(default_factory=list)
    is_editable: bool = False

    def only_with_scores(self, *values: Any) -> tuple:
        """Returns the values, which are about scores, or nothing if the cells have no scores."""
        return values if self.has_scores else ()


@contextmanager
def writing_json_list(path: Path, members: dict, list_name: str,
                      to_records: Callable[[Cells, np.ndarray], Iterable[dict]],
                      is_compressed: bool = False) -> Iterator[WriteCells]:
    """Yields a function that adds cells to the list at the end of a JSON object, which is complete after the block.

    Args:
        path: The JSON file.
        members: Members of the JSON object that stand before the list.
        list_name: Name of the member that holds the list.
        to_records: Returns the records of some cells; each is written at once and not kept in memory.
        is_compressed: Whether the file is compressed with gzip.
    """
    with _opening_gzip(path) if is_compressed else open(path, 'w', **TEXT) as file:
        # The object with an empty list, but without the two brackets at its end, which close the list and the object.
        file.write(json.dumps({**members, list_name: []}, ensure_ascii=False).removesuffix(']}'))
        separator = '\n'

        def write(cells: Cells, numbers: np.ndarray) -> None:
            nonlocal separator
            for record in to_records(cells, numbers):
                file.write(separator + json.dumps(record, ensure_ascii=False, separators=(',', ':')))
                separator = ',\n'

        yield write
        file.write('\n]}\n')


@contextmanager
def _opening_gzip(path: Path) -> Iterator[TextIO]:
    """Yields a text file that is compressed while it is written; equal texts make equal files."""
    # By default, the header would hold the name of the temporary file and the time.
    with (open(path, 'wb') as file,
          GzipFile('', 'wb', _GZIP_LEVEL, file, mtime=0) as packed, TextIOWrapper(packed, **TEXT) as text):
        yield text


@contextmanager
def writing_table(path: Path, header: Sequence[str],
                  to_rows: Callable[[Cells, np.ndarray], Iterable[Sequence]],
                  last_column: tuple[str, Callable[[], Iterable]] | None = None) -> Iterator[WriteCells]:
    """Yields a function that adds cells to a CSV file with a header, which is complete after the block.

    Args:
        path: The CSV file.
        header: The names of the columns.
        to_rows: Returns the rows of some cells.
        last_column: The name of a further column, and a function that returns its values for all rows, which is called
            when all cells are there. The rows wait in a file without a name, which vanishes with the process.
    """
    with open(path, 'w', **TEXT) as file, ExitStack() as stack:
        waiting = file if last_column is None else stack.enter_context(
            TemporaryFile('w+', dir=path.parent, **TEXT))
        table = csv.writer(waiting)
        table.writerow(header)
        yield lambda cells, numbers: table.writerows(to_rows(cells, numbers))
        if last_column is not None:
            name, values = last_column
            waiting.seek(0)
            csv.writer(file).writerows([*row, value] for row, value in zip(
                csv.reader(waiting), chain([name], values()), strict=True))
