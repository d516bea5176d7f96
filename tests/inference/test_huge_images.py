"""An image on disk is predicted as the same image in memory, also when it is interrupted or shared by processes."""

import multiprocessing

import numpy as np
import pytest
import tifffile
import torch
from mmengine.structures import InstanceData
from support.synthetic_data import discs
from support.toy_detector import TILES, ToyDetector, as_data, as_set

from mmcell.images.pixels import ImageReadError
from mmcell.images.regions import open_regions
from mmcell.inference.huge_images import predict_huge_image, progress_of_tiles
from mmcell.inference.tile_journal import TileJournal, remove_journal
from mmcell.models import TiledDetector


@pytest.fixture
def field(rng):
    circles = [(i + 1, *rng.integers(0, 130, 2), rng.integers(1, 8)) for i in range(120)]
    return discs((130, 141), circles)


@pytest.fixture
def image(tmp_path, field):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.stack([field, field % 3, field * 0], -1).astype(np.uint8), photometric='rgb',
                     tile=(16, 16), compression='zlib', bigtiff=True)
    return path


@pytest.fixture
def expected(field):
    sample, = TiledDetector(ToyDetector(), **TILES).test_step(as_data(field, field % 3))
    return as_set(sample.pred_instances)


def predict(image, folder, detector=None, **settings):
    """All cells, and the number of tiles that were predicted."""
    detector = detector or ToyDetector()
    model = TiledDetector(detector, **TILES, batch_size=3)
    with open_regions(image) as regions:
        parts = list(predict_huge_image(model, regions, folder, **settings))
    cells = InstanceData.cat(parts) if parts else None
    return cells, sum(map(len, detector.seen))


class Interrupted(ToyDetector):
    """Stops when a number of tiles were predicted."""

    def __init__(self, n_tiles):
        super().__init__()
        self.n_tiles = n_tiles

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if sum(map(len, self.seen)) + len(inputs) > self.n_tiles:
            raise KeyboardInterrupt
        return super().forward(inputs, data_samples, mode)


def test_the_cells_are_those_of_the_image_in_memory(tmp_path, image, expected):
    reports = []
    cells, n_tiles = predict(image, tmp_path / 'journal', report=lambda *numbers: reports.append(numbers))
    assert as_set(cells) == expected and len(cells) == len(expected) > 60
    assert reports[-1] == (n_tiles, n_tiles) and reports == sorted(set(reports))
    remove_journal(tmp_path / 'journal')
    assert not (tmp_path / 'journal').exists()


def test_cells_come_while_tiles_are_still_to_be_predicted(tmp_path, image):
    detector = ToyDetector()
    with open_regions(image) as regions:
        cells = predict_huge_image(TiledDetector(detector, **TILES), regions, tmp_path / 'journal')
        next(cells)
        assert len(detector.seen) == 1


@pytest.mark.parametrize('n_bytes_lost', [0, 1, 40])
def test_an_interrupted_prediction_goes_on(tmp_path, image, expected, n_bytes_lost):
    with pytest.raises(KeyboardInterrupt):
        predict(image, tmp_path / 'journal', Interrupted(20))
    journal = tmp_path / 'journal' / 'tiles-0.jsonl'
    journal.write_bytes(journal.read_bytes()[:-n_bytes_lost or None])
    n_done = journal.read_bytes().count(b'\n') - 1
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected
    n_tiles = len(TiledDetector(ToyDetector(), **TILES).make_grid((130, 141)))
    assert 15 < n_done < 21 and n_predicted == n_tiles - n_done
    # All is there now.
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected and n_predicted == 0
    assert predict(image, tmp_path / 'journal')[1] == n_tiles


def test_a_journal_of_another_prediction_is_begun_anew(tmp_path, image):
    n_tiles = predict(image, tmp_path / 'journal', settings={'checkpoint': 'a', 'shape': (1, 2)})[1]
    settings = {'checkpoint': 'b', 'shape': (1, 2)}
    for n_predicted in (n_tiles, 0):
        assert predict(image, tmp_path / 'journal', settings=settings, resume=True)[1] == n_predicted


def test_all_that_tiles_hold_is_shown(tmp_path, image):
    predict(image, tmp_path / 'journal')
    seen = []
    # As before, what is in the journal too.
    predict(image, tmp_path / 'journal', resume=True, on_tile=seen.append)
    journal = TileJournal(tmp_path / 'journal', {})
    assert [len(found) for found in seen] == [len(journal.read(tile)) for tile in range(len(seen))]
    assert len(seen) == len(TiledDetector(ToyDetector(), **TILES).make_grid((130, 141))) and any(map(len, seen))


def predict_as_process(rank, folder, image, detector, results):
    """One of two processes; sends the cells that it was given, or its error, and how many tiles it predicted."""
    torch.distributed.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    try:
        cells, n_tiles = predict(image, folder / 'journal', detector if rank == 1 else None)
        results.put((rank, None if cells is None else as_set(cells), n_tiles))
    except Exception as error:
        results.put((rank, f'{type(error).__name__}: {error}', 0))
    torch.distributed.destroy_process_group()


def predict_on_two_processes(folder, image, detector=None):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    processes = [context.Process(target=predict_as_process, args=(rank, folder, image, detector, results))
                 for rank in (0, 1)]
    for process in processes:
        process.start()
    found = sorted((results.get(timeout=60) for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join()
    return found


def test_two_processes_share_the_tiles(tmp_path, image, expected):
    (_, cells, n_first), (_, nothing, n_second) = predict_on_two_processes(tmp_path, image)
    assert cells == expected and nothing is None
    n_tiles = len(TiledDetector(ToyDetector(), **TILES).make_grid((130, 141)))
    assert n_first + n_second == n_tiles and abs(n_first - n_second) <= 1
    # One process takes up what two have left.
    (tmp_path / 'journal' / 'tiles-1.jsonl').unlink()
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected and n_predicted == n_second


def test_an_error_of_one_process_is_told_to_the_other(tmp_path, image):
    class Failing(ToyDetector):
        def forward(self, *unused, **keywords):
            raise RuntimeError('no memory')

    (_, first, _), (_, second, _) = predict_on_two_processes(tmp_path, image, Failing())
    assert second == 'RuntimeError: no memory'
    assert first == 'OtherProcessError: another process stopped: RuntimeError: no memory'


def test_an_image_that_is_damaged_is_named(tmp_path, image):
    whole = image.read_bytes()
    image.write_bytes(whole[:100] + bytes(len(whole) - 1200) + whole[-1100:])
    with pytest.raises(ImageReadError, match=r'a\.tif'):
        predict(image, tmp_path / 'journal')


def test_what_was_found_is_read_as_it_was_written(tmp_path):
    journal = TileJournal(tmp_path, {})
    found = InstanceData(bboxes=torch.rand(2, 4) * 100, scores=torch.rand(2), labels=torch.tensor([3, 1]),
                         masks=torch.rand(2, 9, 7) > .5)
    nothing = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long(), masks=[])
    journal.write(4, found)
    journal.write(0, nothing)
    journal.close()
    again = TileJournal(tmp_path, {})
    assert 4 in again and 0 in again and 1 not in again
    for key in ('bboxes', 'scores', 'labels'):
        assert again.read(4)[key].equal(found[key]) and again.read(0)[key].equal(nothing[key])
    assert again.read(4).masks[1]['size'] == [9, 7] and again.read(0).masks == []


def test_progress_is_shown_with_the_time_left(capsys):
    with progress_of_tiles('a.tif') as report:
        report(1, 4)
    shown = capsys.readouterr().err
    assert 'a.tif' in shown and '1/4 tiles' in shown and 'left' in shown
