"""What the writers of all formats share: their types, and files that grow record by record."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.cells.cells import Cells

# A function that writes some cells of an image. Its second argument is the number of the first cell; the numbers of the
# other cells follow.
WriteCells = Callable[[Cells, int], None]
# Bytes of a file name that are not UTF-8 are written as escapes like \udce4, which JSON also has.
_TEXT = dict(encoding='utf-8', errors='backslashreplace', newline='')


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
    """

    path: Path
    height_px: int
    width_px: int
    class_names: list[str]
    mpp: float | None = None
    pixels: np.ndarray | None = None
    channel_order: str | None = None


@contextmanager
def writing_json_list(path: Path, members: dict, list_name: str,
                      to_records: Callable[[Cells, int], Iterable[dict]]) -> Iterator[WriteCells]:
    """Yields a function that adds cells to the list at the end of a JSON object, which is complete after the block.

    Args:
        path: The JSON file.
        members: Members of the JSON object that stand before the list.
        list_name: Name of the member that holds the list.
        to_records: Returns the records of some cells; each is written at once and not kept in memory.
    """
    with open(path, 'w', **_TEXT) as file:
        # The object with an empty list, but without the two brackets at its end, which close the list and the object.
        file.write(json.dumps({**members, list_name: []}, ensure_ascii=False).removesuffix(']}'))
        separator = '\n'

        def write(cells: Cells, first_number: int) -> None:
            nonlocal separator
            for record in to_records(cells, first_number):
                file.write(separator + json.dumps(record, ensure_ascii=False, separators=(',', ':')))
                separator = ',\n'

        yield write
        file.write('\n]}\n')


@contextmanager
def writing_table(path: Path, header: Sequence[str],
                  to_rows: Callable[[Cells, int], Iterable[Sequence]]) -> Iterator[WriteCells]:
    """Yields a function that adds cells to a CSV file with a header; ``to_rows`` returns the rows of some cells."""
    with open(path, 'w', **_TEXT) as file:
        table = csv.writer(file)
        table.writerow(header)
        yield lambda cells, first_number: table.writerows(to_rows(cells, first_number))
