"""An image on disk gives the same cells as in memory, also if its prediction is interrupted or shared by processes."""

import json
import multiprocessing
import threading

import numpy as np
import pytest
import tifffile
import torch
from support.synthetic_data import discs
from support.toy_detector import TILES, ToyDetector, as_data, as_set

from mmcell.cells.cells import Cells
from mmcell.images.image_file import open_image
from mmcell.images.limits import ImageReadError
from mmcell.inference.huge_images import predict_huge_image
from mmcell.inference.tile_journal import TileJournal, remove_journal
from mmcell.masks.runs import MaskRuns
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
    """Returns all cells, and the number of tiles that were predicted."""
    detector = detector or ToyDetector()
    model = TiledDetector(detector, **TILES, batch_size=3)
    with open_image(image) as file:
        parts = [final for _, final, _ in predict_huge_image(model, (file.height, file.width), file.read, folder,
                                                             **settings)]
    cells = Cells.concatenate(parts).to_instances() if parts else None
    return cells, sum(map(len, detector.seen))


class Interrupted(ToyDetector):
    """Stops before more than ``n_tiles`` tiles are predicted."""

    def __init__(self, n_tiles):
        super().__init__()
        self.n_tiles = n_tiles

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if sum(map(len, self.seen)) + len(inputs) > self.n_tiles:
            raise KeyboardInterrupt
        return super().forward(inputs, data_samples, mode)


def test_the_cells_equal_those_of_the_image_in_memory(tmp_path, image, expected):
    reports = []
    cells, n_tiles = predict(image, tmp_path / 'journal', report=lambda *numbers: reports.append(numbers))
    assert as_set(cells) == expected and len(cells) == len(expected) > 60
    assert reports[-1][:2] == (n_tiles, n_tiles) and reports == sorted(set(reports))
    assert .8 * len(cells) <= reports[-1][2] <= 1.2 * len(cells)
    remove_journal(tmp_path / 'journal')
    assert not (tmp_path / 'journal').exists()


def test_cells_come_while_tiles_are_still_to_be_predicted(tmp_path, image):
    detector = ToyDetector()
    with open_image(image) as file:
        next(predict_huge_image(TiledDetector(detector, **TILES), (file.height, file.width), file.read,
                                tmp_path / 'journal'))
        assert len(detector.seen) == 1


@pytest.mark.parametrize('n_bytes_lost', [0, 1, 40])
def test_an_interrupted_prediction_is_resumed(tmp_path, image, expected, n_bytes_lost):
    with pytest.raises(KeyboardInterrupt):
        predict(image, tmp_path / 'journal', Interrupted(20))
    journal = tmp_path / 'journal' / 'tiles-0.jsonl'
    journal.write_bytes(journal.read_bytes()[:-n_bytes_lost or None])
    n_done = journal.read_bytes().count(b'\n') - 1
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected
    n_tiles = len(TiledDetector(ToyDetector(), **TILES).make_grid((130, 141)))
    assert 15 < n_done < 21 and n_predicted == n_tiles - n_done
    # All tiles are in the journal now.
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected and n_predicted == 0
    assert predict(image, tmp_path / 'journal')[1] == n_tiles


def test_what_will_be_read_is_announced(tmp_path, image):
    rects = TiledDetector(ToyDetector(), **TILES).make_grid((130, 141)).input_rects_xyxy.tolist()
    announced = []
    with pytest.raises(KeyboardInterrupt):
        predict(image, tmp_path / 'journal', Interrupted(20), expect=announced.append)
    n_done = (tmp_path / 'journal' / 'tiles-0.jsonl').read_bytes().count(b'\n') - 1
    for _ in range(2):
        predict(image, tmp_path / 'journal', resume=True, expect=announced.append)
    # The third run finds all tiles in the journal, and reads nothing.
    assert announced == [rects, rects[n_done:]]


def test_a_journal_with_other_settings_is_replaced(tmp_path, image):
    n_tiles = predict(image, tmp_path / 'journal', settings={'checkpoint': 'a', 'shape': (1, 2)})[1]
    settings = {'checkpoint': 'b', 'shape': (1, 2)}
    for n_predicted in (n_tiles, 0):
        assert predict(image, tmp_path / 'journal', settings=settings, resume=True)[1] == n_predicted


def test_the_cells_of_every_tile_are_yielded_as_they_were_predicted(tmp_path, image):
    predict(image, tmp_path / 'journal')
    journal = TileJournal(tmp_path / 'journal', {})
    model = TiledDetector(ToyDetector(), **TILES)
    with open_image(image) as file:
        # Tiles that are already in the journal are yielded, too.
        tiles = list(predict_huge_image(model, (file.height, file.width), file.read, tmp_path / 'journal', resume=True))
    assert [len(cells) for cells, *_ in tiles] == [len(journal.read(tile)) for tile in range(len(tiles))]
    assert len(tiles) == len(model.make_grid((130, 141))) and any(len(cells) for cells, *_ in tiles)


def test_no_later_cell_lies_above_the_row_that_is_done_however_tall_cells_are(tmp_path, rng):
    field = discs((400, 90), [(i + 1, *rng.integers(0, 400, 1), rng.integers(0, 90), 4) for i in range(80)])
    # A cell of all tiles of its columns, which waits for the last of them.
    field[2:398, 40:46] = 200
    tifffile.imwrite(tmp_path / 'tall.tif', np.stack([field, field % 3, field * 0], -1).astype(np.uint8),
                     photometric='rgb', tile=(16, 16))
    model = TiledDetector(ToyDetector(), **TILES)
    with open_image(tmp_path / 'tall.tif') as file:
        parts = list(predict_huge_image(model, (400, 90), file.read, tmp_path / 'journal'))
    tops = [cells.masks.extents_xyxy[:, 1] for _, cells, _ in parts]
    rows = [row for *_, row in parts]
    assert rows == sorted(rows) and rows[-1] == 400 and 2 in rows
    for place, row in enumerate(rows[:-1]):
        assert np.concatenate(tops[place + 1:]).min(initial=400) >= row
    # A limit in tiles would not hold: the tall cell comes when cells that begin far below it have come.
    tall = next(place for place, (_, cells, _) in enumerate(parts) if (cells.masks.areas_px > 2000).any())
    assert np.concatenate(tops[:tall]).max() > 2 + 5 * TILES['tile_px']


def predict_as_process(rank, folder, image, detector, results):
    """Is run by each of two processes: sends its cells, or its error, and the number of tiles that it predicted."""
    torch.distributed.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=2)
    try:
        cells, n_tiles = predict(image, folder / 'journal', detector if rank == 1 else None)
        results.put((rank, None if cells is None else as_set(cells), n_tiles))
    except (Exception, KeyboardInterrupt) as error:
        results.put((rank, f'{type(error).__name__}: {error}', 0))
    torch.distributed.destroy_process_group()


def predict_on_two_processes(folder, image, detector=None):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    processes = [context.Process(target=predict_as_process, args=(rank, folder, image, detector, results))
                 for rank in (0, 1)]
    for process in processes:
        process.start()
    results_by_rank = sorted((results.get(timeout=60) for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join()
    return results_by_rank


def test_two_processes_share_the_tiles(tmp_path, image, expected):
    (_, cells, n_first), (_, cells_of_second_process, n_second) = predict_on_two_processes(tmp_path, image)
    assert cells == expected and cells_of_second_process is None
    n_tiles = len(TiledDetector(ToyDetector(), **TILES).make_grid((130, 141)))
    assert n_first + n_second == n_tiles and abs(n_first - n_second) <= 1
    # One process resumes the prediction that two processes began.
    (tmp_path / 'journal' / 'tiles-1.jsonl').unlink()
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected and n_predicted == n_second


def test_an_error_of_one_process_is_reported_to_the_other(tmp_path, image):
    class Failing(ToyDetector):
        def forward(self, *unused, **keywords):
            raise RuntimeError('no memory')

    (_, first, _), (_, second, _) = predict_on_two_processes(tmp_path, image, Failing())
    assert second == 'RuntimeError: no memory'
    assert first == 'OtherProcessError: another process stopped: RuntimeError: no memory'


def test_a_process_does_not_wait_for_one_that_was_interrupted(tmp_path, image):
    (_, first, _), (_, second, _) = predict_on_two_processes(tmp_path, image, Interrupted(3))
    assert second == 'KeyboardInterrupt: '
    assert first.startswith('LostProcessError: another process has ended early')


def test_the_error_for_a_damaged_image_names_its_file(tmp_path, image):
    whole = image.read_bytes()
    image.write_bytes(whole[:100] + bytes(len(whole) - 1200) + whole[-1100:])
    with pytest.raises(ImageReadError, match=r'a\.tif'):
        predict(image, tmp_path / 'journal')


def test_cells_are_read_from_the_journal_as_they_were_written(tmp_path):
    journal = TileJournal(tmp_path, {})
    masks = [{'size': [90, 70], 'counts': [40, 3, 87, 60, 6110]}, {'size': [90, 70], 'counts': [6300]}]
    two_cells = Cells(MaskRuns.from_rles(masks, 90, 70), np.float32([[.1, -0., 7.3, 9], [3, 4, 5.7, 6]]),
                      np.float32([.1, .9]), np.array([3, 1]))
    journal.write(4, two_cells)
    journal.write(0, Cells.empty(90, 70))
    journal.close()
    reopened = TileJournal(tmp_path, {})
    assert 4 in reopened and 0 in reopened and 1 not in reopened
    for tile, expected in ((4, two_cells), (0, Cells.empty(90, 70))):
        cells = reopened.read(tile)
        for ours, theirs in ((cells.masks, expected.masks), (cells, expected)):
            names = [name for name, value in vars(ours).items() if isinstance(value, np.ndarray)]
            assert len(names) == 3
            for name in names:
                array, written = getattr(ours, name), getattr(theirs, name)
                assert array.tobytes() == written.tobytes() and array.dtype == written.dtype
                assert array.shape == written.shape
        assert (cells.masks.height, cells.masks.width) == (90, 70)
    reopened.close()


def test_the_journal_of_an_earlier_release_is_not_misread(tmp_path, image, expected):
    predict(image, tmp_path / 'journal')
    path = tmp_path / 'journal' / 'tiles-0.jsonl'
    lines = path.read_text().splitlines()
    settings = json.loads(lines[0])['settings']
    del settings['journal']
    path.write_text('\n'.join([json.dumps({'settings': settings}), *lines[1:]]) + '\n')
    cells, n_predicted = predict(image, tmp_path / 'journal', resume=True)
    assert as_set(cells) == expected and n_predicted == len(lines) - 1


def test_the_next_tiles_are_read_while_tiles_are_predicted(image, tmp_path):
    second_batch_is_read = threading.Event()
    rects, waited = [], []

    class WaitingDetector(ToyDetector):
        def forward(self, *args, **kwargs):
            waited.append(second_batch_is_read.wait(timeout=20))
            return super().forward(*args, **kwargs)

    with open_image(image) as file:
        def read(*rect):
            rects.append(rect)
            if len(rects) == 4:  # a batch has up to three tiles
                second_batch_is_read.set()
            return file.read(*rect)
        model = TiledDetector(WaitingDetector(), **TILES, batch_size=3)
        for _ in predict_huge_image(model, (file.height, file.width), read, tmp_path / 'tiles'):
            pass
    assert len(waited) > 2 and all(waited)
    assert rects == [tuple(rect) for rect in model.make_grid((file.height, file.width)).input_rects_xyxy.tolist()]
