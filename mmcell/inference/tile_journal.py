"""What was predicted in each tile, on disk, so that an interrupted prediction goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch
from mmengine.structures import InstanceData

from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import with_text_counts


class TileJournal:
    """Tiles that are done, one line of JSON each; written by several processes, each into a file of its own.

    A line that a killed process left half written is passed over, and its tile done again.

    Args:
        folder: of the files ``tiles-<rank>.jsonl``; made where it is not there.
        settings: what the predictions depend on, of JSON's types, with which files begin; those in the folder must
            have been begun with the same (:func:`remove_journal`).
        rank: of this process.
    """

    def __init__(self, folder: str | Path, settings: dict, rank: int = 0) -> None:
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        self.path = self.folder / f'tiles-{rank}.jsonl'
        self._places: dict[int, tuple[Path, int]] = {}
        self._open: dict[Path | str, IO[bytes]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def __contains__(self, tile: int) -> bool:
        return tile in self._places

    def refresh(self) -> None:
        """Looks at what is there, other processes' files included."""
        self._places = {}
        for path in sorted(self.folder.glob('tiles-*.jsonl')):
            for place, record in _whole_lines(path):
                if place > 0 and 'tile' in record:
                    self._places[record['tile']] = path, place

    def write(self, tile: int, instances: InstanceData) -> None:
        """Adds a tile, with what was found in it in px of the tile: bboxes, scores, labels, masks."""
        rles = masks_to_rles(instances.masks)
        record = {'tile': tile, **{key: instances[key].tolist() for key in ('bboxes', 'scores', 'labels')},
                  'size': list(rles[0]['size']) if rles else [],
                  'counts': [with_text_counts(rle)['counts'] for rle in rles]}
        file = self._file_to_append()
        place = file.tell()
        file.write(json.dumps(record).encode() + b'\n')
        file.flush()
        self._places[tile] = self.path, place

    def _file_to_append(self) -> IO[bytes]:
        if 'append' not in self._open:
            lines = list(_whole_lines(self.path)) if self.path.exists() else []
            file = self._open['append'] = open(self.path, 'ab')  # noqa: SIM115
            if lines:
                # What is half written goes.
                file.truncate(_end_of_line(self.path, lines[-1][0]))
                file.seek(0, 2)
            else:
                file.truncate(0)
                file.write(json.dumps({'settings': self.settings}).encode() + b'\n')
        return self._open['append']

    def read(self, tile: int) -> InstanceData:
        """What was found in a tile that is there, as it was written; masks are RLEs with counts as str."""
        path, place = self._places[tile]
        if path not in self._open:
            self._open[path] = open(path, 'rb')  # noqa: SIM115
        self._open[path].seek(place)
        record = json.loads(self._open[path].readline())
        return InstanceData(
            bboxes=torch.tensor(record['bboxes'], dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(record['scores'], dtype=torch.float32),
            labels=torch.tensor(record['labels'], dtype=torch.int64),
            masks=[{'size': record['size'], 'counts': counts} for counts in record['counts']])

    def close(self) -> None:
        """Closes the files."""
        for file in self._open.values():
            file.close()
        self._open = {}


def remove_journal(folder: str | Path, but_of: dict | None = None) -> list[dict]:
    """Removes the files of a journal, and its folder where nothing else is in it.

    Args:
        folder: of the journal; need not be there.
        but_of: files that begin with these settings stay.

    Returns:
        The settings of each file that was removed.
    """
    removed = []
    folder, but_of = Path(folder), json.loads(json.dumps(but_of))
    for path in folder.glob('tiles-*.jsonl'):
        _, begin = next(_whole_lines(path), (0, {}))
        if but_of is None or begin.get('settings') != but_of:
            path.unlink()
            removed.append(begin.get('settings') or {})
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return removed


def _whole_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Where each line begins and its content; ends before one that is not whole."""
    with open(path, 'rb') as file:
        place = 0
        for line in file:
            try:
                record = json.loads(line) if line.endswith(b'\n') else None
            except ValueError:
                record = None
            if not isinstance(record, dict):
                return
            yield place, record
            place += len(line)


def _end_of_line(path: Path, place: int) -> int:
    with open(path, 'rb') as file:
        file.seek(place)
        return place + len(file.readline())
