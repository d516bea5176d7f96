"""A journal on disk of the cells of each tile, from which an interrupted prediction is resumed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from mmcell.cells.cells import Cells
from mmcell.errors import MmcellError
from mmcell.files.text_files import is_integer
from mmcell.masks.runs import MaskRuns

# What is written into a line; it belongs to the settings, so that a journal of an earlier release is not misread.
JOURNAL_FORMAT = 'cells in px of the image'


class TileJournal:
    """The cells of the tiles that are done, one line of JSON per tile.

    Each process writes its own file, and reads the files of all processes. The first line of a file holds the settings.
    A line that is incomplete because its process was killed is ignored, so that its tile is predicted again.

    Args:
        folder: Folder of the files ``tiles-<rank>.jsonl``; it is made if missing. All files in it must have been
            written with the same settings; :func:`remove_journal` removes the other ones.
        settings: Everything that the predictions depend on, in JSON's types.
        rank: Rank of this process.
    """

    def __init__(self, folder: str | Path, settings: dict, rank: int = 0) -> None:
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        self.path = self.folder / f'tiles-{rank}.jsonl'
        self._locations: dict[int, tuple[Path, int]] = {}
        self._open: dict[Path | str, IO[bytes]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def __contains__(self, tile: int) -> bool:
        return tile in self._locations

    def refresh(self) -> None:
        """Reads again which tiles are in the journal, including those that other processes wrote."""
        self._locations = {}
        for path in sorted(self.folder.glob('tiles-*.jsonl')):
            for begin, _, record in _complete_lines(path):
                # The first line holds the settings.
                if begin > 0 and is_integer(record.get('tile')):
                    self._locations[record['tile']] = path, begin

    def write(self, tile: int, cells: Cells) -> None:
        """Adds the cells of a tile.

        Args:
            tile: Index of the tile in the grid.
            cells: The cells that were predicted in this tile, in px of the image.
        """
        record = {'tile': tile, 'bboxes': cells.bboxes_xyxy.tolist(), 'scores': cells.scores.tolist(),
                  'labels': cells.labels.tolist(), 'size': [cells.masks.height, cells.masks.width],
                  'counts': [rle['counts'] for rle in cells.masks.to_rles()]}
        file = self._file_to_append()
        offset = file.tell()
        file.write(json.dumps(record).encode() + b'\n')
        file.flush()
        self._locations[tile] = self.path, offset

    def _file_to_append(self) -> IO[bytes]:
        if 'append' not in self._open:
            file = self._open['append'] = open(self.path, 'ab')  # noqa: SIM115
            # An incomplete line at the end is cut off, so that the next line does not continue it.
            file.truncate(max((end for _, end, _ in _complete_lines(self.path)), default=0))
            if file.seek(0, 2) == 0:
                file.write(json.dumps({'settings': self.settings}).encode() + b'\n')
        return self._open['append']

    def read(self, tile: int) -> Cells:
        """Returns the cells of a tile that is in the journal, as they were written.

        Raises:
            MmcellError: The file was damaged after it was written.
        """
        path, offset = self._locations[tile]
        if path not in self._open:
            self._open[path] = open(path, 'rb')  # noqa: SIM115
        self._open[path].seek(offset)
        record = json.loads(self._open[path].readline())
        try:
            return _to_cells(record)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MmcellError(f'{path}: is damaged, the cells of tile {tile} cannot be read: delete the file, and its '
                              'tiles are predicted again') from error

    def close(self) -> None:
        """Closes all files of the journal that are open."""
        for file in self._open.values():
            file.close()
        self._open = {}


def _to_cells(record: dict) -> Cells:
    """Returns the cells in a line; a line that mmcell has not written raises an error of some kind."""
    height, width = record['size']
    if not (is_integer(height) and is_integer(width) and min(height, width) > 0 and max(height, width) < 2 ** 31):
        raise ValueError('no size of an image')
    n_cells = len(record['counts'])
    return Cells(MaskRuns.from_rles([{'size': [height, width], 'counts': counts} for counts in record['counts']],
                                    height, width),
                 np.array(record['bboxes'], np.float32).reshape(n_cells, 4),
                 np.array(record['scores'], np.float32).reshape(n_cells),
                 np.array(record['labels'], np.int64).reshape(n_cells))


def remove_journal(folder: str | Path, keep_settings: dict | None = None) -> list[dict]:
    """Removes the files of a journal, and the folder if nothing else is in it.

    Args:
        folder: Folder of the journal; it need not exist.
        keep_settings: Files that were written with these settings are kept; None removes all files.

    Returns:
        The settings of each file that was removed.
    """
    removed_settings = []
    # JSON turns tuples into lists, so that the settings equal those that were read from a file.
    folder, keep_settings = Path(folder), json.loads(json.dumps(keep_settings))
    for path in folder.glob('tiles-*.jsonl'):
        *_, first_record = next(_complete_lines(path), [{}])
        if keep_settings is None or first_record.get('settings') != keep_settings:
            path.unlink()
            settings = first_record.get('settings')
            removed_settings.append(settings if isinstance(settings, dict) else {})
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return removed_settings


def _complete_lines(path: Path) -> Iterator[tuple[int, int, dict]]:
    """Yields begin and end in bytes and the content of each line, up to the first line that is not complete JSON."""
    with open(path, 'rb') as file:
        begin = 0
        for line in file:
            try:
                record = json.loads(line) if line.endswith(b'\n') else None
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                return
            yield begin, begin + len(line), record
            begin += len(line)
