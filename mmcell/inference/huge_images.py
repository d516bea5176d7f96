"""Predicts images that do not fit into memory: tile by tile, on several processes, with a journal on disk."""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch import Tensor

from mmcell.cells.cells import Cells, select_cells
from mmcell.errors import MmcellError
from mmcell.inference.processes import gather
from mmcell.inference.progress import Report
from mmcell.inference.tile_journal import JOURNAL_FORMAT, TileJournal, remove_journal
from mmcell.models.tiled_detector import TiledDetector
from mmcell.tiles.seams import SeamStitcher
from mmcell.tiles.tiling import TileGrid

# Reads the rectangle (x0, y0, x1, y1).
ReadRect = Callable[[int, int, int, int], np.ndarray]
# Is given a list of rectangles [x0, y0, x1, y1].
ExpectRects = Callable[[list[list[int]]], None]


class OtherProcessError(MmcellError):
    """Another process could not predict its share of the tiles."""


def predict_huge_image(model: TiledDetector, size: tuple[int, int], read: ReadRect, journal_folder: str | Path, *,
                       min_score: float = 0., resume: bool = False, settings: dict | None = None,
                       report: Report | None = None,
                       expect: ExpectRects | None = None,
                       is_wanted: Callable[[np.ndarray], np.ndarray] | None = None,
                       input_size: tuple[int, int] | None = None,
                       is_empty: Callable[[np.ndarray], bool] | None = None) -> Iterator[tuple[Cells, Cells, int]]:
    """Predicts an image tile by tile, and yields each cell as soon as it is final: no later tile can change it.

    The cells equal those that ``model.test_step`` returns for the whole image, but come in another order. Only two
    batches of tiles, of which one is predicted and one is read, and the cells at seams towards tiles that are not done
    yet, are held in memory. No test pipeline is run: the image is predicted at its own scale times ``model.upscale``.

    With several processes (torchrun), each process predicts a share of the tiles; the first process yields all cells,
    the other ones none. All processes need access to the same ``journal_folder``.

    Args:
        model: Model in evaluation mode, whose tile size, batch size and enlargement are used.
        size: Height and width of the image in px.
        read: Reads columns x0 to x1 - 1 of rows y0 to y1 - 1, as (y1 - y0, x1 - x0, 3) uint8, with the colours in the
            order in which the loader of the model returns them.
        journal_folder: Where the predictions of each tile are written. Each image needs its own folder. The caller
            removes it with :func:`mmcell.inference.tile_journal.remove_journal` when all outputs are written.
        min_score: Lowest score of the cells that are needed. Most of the cells with a lower score are left out; the
            other cells are the same.
        resume: Whether tiles in the journal that were predicted with the same settings are taken from there. Otherwise
            the journal is removed and all tiles are predicted.
        settings: Everything that the predictions depend on beside the sizes of image and tiles (checkpoint, contrast,
            …), in JSON's types.
        report: Called after each batch with three numbers: the tiles that this process has done, the tiles that it
            has to do in all, and the cells with at least that score that it has found in them.
        expect: Called before the first tile is read, with the rectangles that this process will read, in their order.
        is_wanted: Called with all tiles, (T, 4) int64 xyxy in px; returns (T,) bool. Tiles without a flag are neither
            read nor predicted, as if there were no cell in them. None wants all tiles.
        input_size: Height and width of a smaller copy of the image, of which ``read`` and ``expect`` get rectangles in
            px. None: of the image itself.
        is_empty: Called with the pixels of each tile, (h, w, 3) uint8 as ``read`` returned them; a tile for which it
            returns true is not predicted. None predicts all.

    Yields:
        For each tile, its cells before seams are resolved, the cells that are final now, and the row in px above which
        no pixel of a later one lies.

    Raises:
        ImageReadError: The image is damaged.
        LostProcessError: Another process has ended, for example because it was interrupted.
        OtherProcessError: Another process raised an error, whose message is included. All processes raise an error, so
            that all of them can go on with the next image.
    """
    rank, n_processes = get_dist_info()
    grid = model.make_grid(size if input_size is None else input_size, size)
    settings = {**model.tile_settings, 'min_score': min_score, 'image_size': list(size),
                'input_size': list(size if input_size is None else input_size), 'journal': JOURNAL_FORMAT,
                **(settings or {})}
    if rank == 0:
        _remove_outdated_journal(journal_folder, settings, resume)
    gather(None)
    with closing(TileJournal(journal_folder, settings, rank)) as journal:
        wanted = np.ones(len(grid), bool) if is_wanted is None else is_wanted(grid.rects_xyxy)
        missing = [tile for tile in np.flatnonzero(wanted).tolist() if tile not in journal]
        # No process may write to the journal before all processes have read it: all must divide the same missing tiles.
        gather(None)
        predict_into = partial(_predict_into, model=model, read=read, grid=grid, min_score=min_score, report=report,
                               expect=expect, is_empty=is_empty)
        if n_processes > 1:
            _predict_share(predict_into(journal, np.array_split(missing, n_processes)[rank].tolist()))
            journal.refresh()
            missing = []
        if rank == 0:
            yield from _stitch(predict_into(journal, missing), journal, grid, wanted, model.border_px)


def _remove_outdated_journal(journal_folder: str | Path, settings: dict, resume: bool) -> None:
    """Removes journals with other settings, and without ``resume`` any journal; warns if ``resume`` was in vain."""
    for old_settings in remove_journal(journal_folder, keep_settings=settings if resume else None):
        if resume:
            different = sorted(key for key in settings.keys() | old_settings.keys()
                               if json.dumps(settings.get(key)) != json.dumps(old_settings.get(key)))
            print_log(f'{journal_folder}: the tiles of the interrupted run were predicted with other settings '
                      f'({", ".join(different)}), and are predicted again', logger='current', level=logging.WARNING)


def _predict_into(journal: TileJournal, tiles: list[int], model: TiledDetector, read: ReadRect, grid: TileGrid,
                  min_score: float, report: Report | None, expect: ExpectRects | None,
                  is_empty: Callable[[np.ndarray], bool] | None) -> Iterator[dict[int, Cells]]:
    """Predicts tiles in their order and writes their cells to the journal; yields the cells by tile of each batch."""
    n_done = n_cells = 0
    if expect is not None and tiles:
        expect(grid.input_rects_xyxy[tiles].tolist())
    for batch, crops in _read_ahead(grid.batches_of_equal_shape(tiles, model.batch_size), read, grid):
        cells_by_tile = dict.fromkeys(batch, Cells.empty(grid.height, grid.width))
        shown = {tile: crop for tile, crop in zip(batch, crops, strict=True)
                 if is_empty is None or not is_empty(crop.permute(1, 2, 0).numpy())}
        if shown:
            predicted = model.predict_crops(list(shown.values()), list(shown), grid, {'min_score': min_score})
            cells_by_tile.update(zip(shown, predicted, strict=True))
        for tile, cells in cells_by_tile.items():
            journal.write(tile, cells)
        n_done += len(batch)
        if report is not None:
            n_cells += sum(_count_own(select_cells(cells, min_score), tile, grid)
                           for tile, cells in cells_by_tile.items())
            report(n_done, len(tiles), n_cells)
        yield cells_by_tile


def _count_own(cells: Cells, tile: int, grid: TileGrid) -> int:
    """Counts the cells whose centre is nearer to the centre of this tile than of any other, which count only here."""
    centres_xy = (cells.bboxes_xyxy[:, :2] + cells.bboxes_xyxy[:, 2:]) / 2
    return int((grid.nearest_tiles(tile, centres_xy) == tile).sum())


def _read_ahead(batches: Iterable[list[int]], read: ReadRect,
                grid: TileGrid) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yields batches of tiles with their crops (3, h, w) uint8; a thread reads one batch ahead of the prediction."""
    def read_crops(batch: list[int]) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(read(*rect).transpose(2, 0, 1)))
                for rect in grid.input_rects_xyxy[batch].tolist()]

    with ThreadPoolExecutor(max_workers=1) as thread:
        ahead: deque[tuple[list[int], Future]] = deque()
        for batch in batches:
            ahead.append((batch, thread.submit(read_crops, batch)))
            if len(ahead) > 1:
                tiles, crops = ahead.popleft()
                yield tiles, crops.result()
        for tiles, crops in ahead:
            yield tiles, crops.result()


def _predict_share(batches: Iterator[dict[int, Cells]]) -> None:
    """Predicts the share of this process, and waits for the others; then an error in one process is raised in all."""
    error = None
    try:
        for _ in batches:
            pass
    except Exception as raised:  # first reported to the other processes, then raised again
        error = raised
    messages = gather(None if error is None else f'{type(error).__name__}: {error}')
    if error is not None:
        raise error
    for message in filter(None, messages):
        raise OtherProcessError(f'another process stopped: {message}')


def _stitch(batches: Iterator[dict[int, Cells]], journal: TileJournal, grid: TileGrid, wanted: np.ndarray,
            border_px: float) -> Iterator[tuple[Cells, Cells, int]]:
    """Yields what :func:`predict_huge_image` yields, in the order of the tiles.

    Tiles that are not in the journal are predicted when their turn comes, by taking the next batch.
    """
    stitcher, latest_batch = SeamStitcher(grid, border_px), {}
    for tile in range(len(grid)):
        while wanted[tile] and tile not in journal:
            latest_batch = next(batches)
        if not wanted[tile]:
            cells = Cells.empty(grid.height, grid.width)
        else:
            cells = latest_batch[tile] if tile in latest_batch else journal.read(tile)
        yield cells, stitcher.add(tile, cells), stitcher.done_above_px(tile)
