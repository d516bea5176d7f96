"""Prediction of an image that is larger than memory: tile by tile, on several processes, with a journal on disk."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.structures import InstanceData

from mmcell.errors import MmcellError
from mmcell.images.regions import Regions
from mmcell.inference.tile_journal import TileJournal, remove_journal
from mmcell.models.tiled_detector import TiledDetector
from mmcell.tiles.seams import SeamStitcher
from mmcell.tiles.tile_cells import cells_of_tile, to_instances
from mmcell.tiles.tile_prediction import batches_of_equal_shape
from mmcell.tiles.tiling import TileGrid

Report = Callable[[int, int], None]


class OtherProcessError(MmcellError):
    """Another process could not predict its part of the tiles."""


def predict_huge_image(model: TiledDetector, regions: Regions, journal_folder: str | Path, *, resume: bool = False,
                       settings: dict | None = None,
                       report: Report | None = None,
                       on_tile: Callable[[InstanceData], None] | None = None) -> Iterator[InstanceData]:
    """Predicts an image tile by tile and gives its cells as soon as no tile to come can change them.

    The cells are those that ``model.test_step`` gives for the whole image, in another order. What is held in memory are
    a batch of tiles and the cells at seams to rows of tiles that are not done yet. The image has its own scale,
    times ``model.upscale``: no test pipeline is run.

    Of several processes (torchrun) each predicts a part of the tiles; the first gives all cells, the others none. All
    must see ``journal_folder``.

    Args:
        model: its tiles, batches and enlargement are used. In evaluation mode.
        regions: the image, see :func:`mmcell.images.regions.open_regions`.
        journal_folder: what was predicted in each tile is written here; for one image alone.
            :func:`mmcell.inference.tile_journal.remove_journal` removes it when all outputs are written.
        resume: tiles in the journal are not predicted again, where they were predicted with the same settings; else it
            is begun anew.
        settings: what predictions depend on beside the sizes of image and tiles (checkpoint, contrast, …), of JSON's
            types.
        report: called with the number of tiles that this process has done and has to do, after each batch.
        on_tile: called with what was found in each tile, before seams are looked at; in the first process.

    Yields:
        bboxes (N, 4) xyxy px of the image, scores (N,), labels (N,) and masks (N RLEs of the size of the image), on the
        CPU; N from 1.

    Raises:
        ImageReadError: the image is damaged.
        OtherProcessError: another process raised an error; its message is given. (So that all go on with the next.)
    """
    rank, n_processes = get_dist_info()
    grid = model.make_grid((regions.height, regions.width))
    settings = {**model.tile_settings, 'image_size': [regions.height, regions.width], **(settings or {})}
    if rank == 0:
        _begin_anew(journal_folder, settings, resume)
    barrier()
    with closing(TileJournal(journal_folder, settings, rank)) as journal:
        missing = [tile for tile in range(len(grid)) if tile not in journal]
        # Nobody writes before everybody has seen what is there.
        barrier()
        if n_processes > 1:
            own = np.array_split(missing, n_processes)[rank].tolist()
            _predict_together(_predict_into(journal, own, model, regions, grid), len(own), report)
            journal.refresh()
            missing = []
        if rank == 0:
            yield from _stitch(_predict_into(journal, missing, model, regions, grid), journal, grid, model.border_px,
                               len(missing), report, on_tile)


def _begin_anew(journal_folder: str | Path, settings: dict, resume: bool) -> None:
    """Removes the journal of another prediction, or any; with a warning where it was to be resumed."""
    for others in remove_journal(journal_folder, but_of=settings if resume else None):
        if resume:
            different = sorted(key for key in settings.keys() | others.keys()
                               if json.dumps(settings.get(key)) != json.dumps(others.get(key)))
            print_log(f'{journal_folder}: the tiles there were predicted with other settings ({", ".join(different)}) '
                      'and are done again', logger='current', level=logging.WARNING)


def _predict_into(journal: TileJournal, tiles: list[int], model: TiledDetector, regions: Regions,
                  grid: TileGrid) -> Iterator[int]:
    """Predicts tiles in their order into the journal; gives their number after each batch."""
    rects = grid.input_rects_xyxy
    shapes = (rects[:, 2:] - rects[:, :2]).tolist()
    for batch in batches_of_equal_shape(tiles, shapes, model.batch_size):
        crops = [torch.from_numpy(np.ascontiguousarray(regions.read(*rects[tile].tolist()).transpose(2, 0, 1)))
                 for tile in batch]
        for tile, instances in zip(batch, model.predict_crops(crops, batch, grid, {}), strict=True):
            journal.write(tile, instances)
        yield len(batch)


def _predict_together(work: Iterator[int], n_tiles: int, report: Report | None) -> None:
    """Does the part of one process and waits for the others; an error of one is an error of all."""
    error, n_done = None, 0
    try:
        for n_new in work:
            n_done += n_new
            if report is not None:
                report(n_done, n_tiles)
    except Exception as raised:  # told to the others, then raised
        error = raised
    messages = all_gather_object(None if error is None else f'{type(error).__name__}: {error}')
    if error is not None:
        raise error
    for message in filter(None, messages):
        raise OtherProcessError(f'another process stopped: {message}')


def _stitch(work: Iterator[int], journal: TileJournal, grid: TileGrid, border_px: float, n_tiles: int,
            report: Report | None, on_tile: Callable[[InstanceData], None] | None) -> Iterator[InstanceData]:
    """Final cells of all tiles in their order; what is not in the journal is predicted when it is its turn."""
    stitcher = SeamStitcher(grid, border_px)
    n_done = 0
    for tile in range(len(grid)):
        while tile not in journal:
            n_done += next(work)
            if report is not None:
                report(n_done, n_tiles)
        found = journal.read(tile)
        if on_tile is not None:
            on_tile(found)
        cells = stitcher.add(tile, cells_of_tile(found, tile, grid))
        if len(cells):
            yield to_instances(cells, grid.width)


@contextmanager
def progress_of_tiles(what: str) -> Iterator[Report]:
    """A bar on standard error with the time that is left; gives what :func:`predict_huge_image` reports to."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn('tiles,'),
               TimeElapsedColumn(), TextColumn('gone, left'), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda n_done, n_tiles: progress.update(task, completed=n_done, total=n_tiles)
