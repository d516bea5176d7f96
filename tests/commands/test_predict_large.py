"""tools/predict.py on images that are predicted in tiles, from memory or from the disk, also in several processes."""

import gzip
import subprocess
import sys

import numpy as np
import predict
import pytest
import tifffile
import torch
from mmengine.structures import InstanceData
from support.bright_detector import BrightCellDetector
from support.commands import TORCHRUN, run
from support.paths import REPO
from support.predict_command import (
    N_TILES,
    ON_SEAMS,
    THREE_CELLS,
    TILES,
    names_in,
    rows_of,
    save_demo_checkpoint,
    write_image,
)

from mmcell.inference import prediction_plan
from mmcell.models import MaskTTAModel
from mmcell.writers import label_pyramid, label_tiff
from mmcell.writers.formats import FORMATS, PICTURE_FORMATS


@pytest.fixture
def large(tmp_path, monkeypatch):
    """Writes an image that counts as large, with cells that lie across the seams of its tiles of 64 px."""
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 64 * 140 - 1)
    for module in (label_tiff, label_pyramid):
        monkeypatch.setattr(module, 'MAX_PIXELS_IN_MEMORY', 64 * 140 - 1)
    return write_image(tmp_path / 'large' / 'x.tif', *THREE_CELLS, *ON_SEAMS, shape=(64, 140), tile=(16, 16))


@pytest.fixture
def n_views(monkeypatch):
    """Collects the number of views of each prediction."""
    n_views = []
    predict_views = MaskTTAModel._predict_views

    def count(self, views, *args):
        views = list(views)
        n_views.append(len(views))
        return predict_views(self, views, *args)

    monkeypatch.setattr(MaskTTAModel, '_predict_views', count)
    return n_views


def test_tiles_of_empty_glass_may_be_left_out(tmp_path, command, monkeypatch):
    image = np.full((640, 640, 3), 245, np.uint8)
    image[300:500, 100:300] = (230, 150, 190)
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', tile=(64, 64))
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    shown = []
    monkeypatch.setattr(BrightCellDetector, 'forward', lambda self, inputs, data_samples, **_: shown.append(1) or [
        sample.set_field(InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long(),
                                      masks=[]), 'pred_instances') or sample for sample in data_samples])
    counts = []
    for flags in ([], ['--skip-glass']):
        shown.clear()
        assert command(tmp_path / 'a.tif', '--formats', 'csv', '--tile', 128, '--overlap', 32, *flags)[0] == 0
        counts.append(len(shown))
    # Tiles advance by at most 96 px, so that 7 of them cover 640 px; the tissue lies in 3 to 4 columns and rows.
    assert counts[0] == 49 and 6 <= counts[1] <= 16


def test_tiles_of_a_changed_image_are_predicted_again(tmp_path, command, large, monkeypatch):
    forward, n_images_per_call = BrightCellDetector.forward, []

    def interrupt_second_call(self, inputs, *args, **kwargs):
        n_images_per_call.append(len(inputs))
        if len(n_images_per_call) == 2:
            raise KeyboardInterrupt
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', interrupt_second_call)
    status, output = command(large, '--formats', 'csv', *TILES)
    assert status == 130 and 'interrupted: the same command with --resume continues from here\n' in output.err
    write_image(large, *THREE_CELLS, shape=(64, 140), tile=(16, 16))
    status, output = command(large, '--formats', 'csv', *TILES, '--resume')
    assert status == 0 and '3 cells in 1 images' in output.out and len(n_images_per_call) == 2 + N_TILES


def test_a_large_image_read_tile_by_tile_has_the_same_cells(tmp_path, command, large, monkeypatch):
    formats = [key for key in FORMATS if key not in PICTURE_FORMATS]
    assert command(large, '--formats', *formats, 'overlay', *TILES)[0] == 0
    streamed = tmp_path / 'out'
    assert not list(streamed.glob('*overlay*')) and [path.name for path in streamed.glob('.*')] == ['.x.json']
    tiled = tifffile.imread(streamed / 'x_labels.tif')
    assert np.array_equal(tiled, tifffile.imread(streamed / 'x_labels.ome.tif'))
    assert gzip.decompress((streamed / 'x.geojson.gz').read_bytes()) == (streamed / 'x.geojson').read_bytes()
    streamed.rename(tmp_path / 'streamed')
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 30 * 40)
    assert command(large, '--formats', *formats)[0] == 0
    assert np.array_equal(tiled > 0, tifffile.imread(streamed / 'x_labels.tif') > 0)
    for kind in ('cells.csv', 'labels.csv'):
        rows = [sorted(row[key] for key in ('class', 'score')) for row in rows_of(tmp_path / 'streamed' / f'x_{kind}')]
        assert len(rows) == 7
        assert sorted(rows) == sorted(sorted(row[key] for key in ('class', 'score'))
                                      for row in rows_of(streamed / f'x_{kind}'))


def test_an_interrupted_large_image_is_resumed(tmp_path, command, large, monkeypatch):
    forward, n_images_per_call = BrightCellDetector.forward, []

    def interrupt_third_call(self, inputs, *args, **kwargs):
        n_images_per_call.append(len(inputs))
        if len(n_images_per_call) == 3:
            raise KeyboardInterrupt
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', interrupt_third_call)
    status, output = command(large, '--formats', 'csv', *TILES)
    assert status == 130 and 'interrupted: the same command with --resume continues from here\n' in output.err
    assert names_in(tmp_path / 'out') == ['.x.tiles']
    status, output = command(large, '--formats', 'csv', *TILES, '--resume')
    # Two tiles were done before the interruption.
    assert status == 0 and len(n_images_per_call) == 3 + N_TILES - 2 and '7 cells in 1 images' in output.out
    assert names_in(tmp_path / 'out') == ['x_cells.csv']
    assert 'in 0 images written' in command(large, '--formats', 'csv', *TILES, '--resume')[1].out
    assert len(n_images_per_call) == 1 + N_TILES > 3


def test_leftovers_of_a_large_image_are_removed(tmp_path, command, large):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    (tmp_path / 'out').mkdir()
    for name in (f'.x_cells.csv.{ended.pid}.tmp', f'.y_cells.csv.{ended.pid}.tmp'):
        (tmp_path / 'out' / name).touch()
    assert command(large, '--formats', 'csv', *TILES)[0] == 0
    assert names_in(tmp_path / 'out') == [f'.y_cells.csv.{ended.pid}.tmp', 'x_cells.csv']


def test_the_missing_overlay_of_a_large_image_is_reported(tmp_path, command, large):
    status, output = command(large, '--formats', 'overlay', *TILES)
    assert status == 1 and 'is too large for overlay: name another format' in output.err
    assert not names_in(tmp_path / 'out')
    command(large, '--formats', 'csv', *TILES)
    assert command(large, '--formats', 'overlay', *TILES, '--resume')[0] == 1
    status, output = command(large, '--formats', 'overlay', 'csv', *TILES)
    assert status == 0 and f'note: {large}: too large for the format overlay' in output.err


def test_a_damaged_large_image_is_reported(tmp_path, command, large):
    content = large.read_bytes()
    large.write_bytes(content[:len(content) // 2])
    write_image(tmp_path / 'large' / 'y.tif', *THREE_CELLS)
    status, output = command(tmp_path / 'large', '--formats', 'csv', *TILES)
    assert status == 3 and 'x.tif: ' in output.err and '3 cells in 1 images' in output.out


def test_an_image_in_memory_is_predicted_in_tiles(tmp_path, command):
    image = write_image(tmp_path / 'a.png', *THREE_CELLS, *ON_SEAMS, shape=(64, 140))
    assert command(image, '--formats', 'csv', *TILES)[0] == 0
    areas_px = sorted(int(row['area_px']) for row in rows_of(tmp_path / 'out' / 'a_cells.csv'))
    assert areas_px == [16, 36, 64, 144, 144, 144, 144]


@pytest.mark.slow
def test_two_processes_predict_a_large_image_together(tmp_path):
    run('data_prep/make_demo_data.py', tmp_path / 'data', '--images', 2, '--test-images', 3, '--size', 160)
    images = sorted((tmp_path / 'data' / 'test_release').glob('*.tif'))
    images[1].write_bytes(images[1].read_bytes()[:2000])
    checkpoint = save_demo_checkpoint(tmp_path / 'demo.pth')
    # This script is the command, but these images count as large.
    script = tmp_path / 'predict_large.py'
    script.write_text(f'import sys\nsys.path.insert(0, {str(REPO / "tools")!r})\n'
                      'from mmcell.inference import prediction_plan\nprediction_plan.STREAMED_PX = 1000\n'
                      'import predict\nsys.exit(predict.main())\n')
    for name, launcher, flags in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        with pytest.raises(AssertionError, match=f'error: 1 of 3 images could not be done(.|\n)*{images[1].name}'):
            run(*launcher, script, checkpoint, images[0].parent, '--out', tmp_path / name, '--score-thr', 0, '--tile',
                96, '--overlap', 32, '--device', 'cpu', '--formats', 'labels', 'geojson', 'csv', *flags, cwd=tmp_path)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()
                 if path.is_file() and path.name[0] != '.'}
                for name in ('one', 'two'))
    # Four files of two images, and the tables over all images.
    assert len(one) == 2 * 4 + 2 and one == two
    assert len(rows_of(tmp_path / 'two' / f'{images[0].stem}_cells.csv')) > 10


@pytest.mark.parametrize('whole_px, n_times', [(64 * 140, 1), (64 * 140 - 1, N_TILES)])
def test_images_above_a_number_of_pixels_are_predicted_in_tiles(tmp_path, command, monkeypatch, whole_px, n_times):
    forward, shapes = BrightCellDetector.forward, []

    def record_shape(self, inputs, *args, **kwargs):
        shapes.append(inputs.shape)
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', record_shape)
    monkeypatch.setattr(prediction_plan, 'WHOLE_PX', whole_px)
    monkeypatch.setattr(prediction_plan, 'DEFAULT_TILE_PX', 64)
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, *ON_SEAMS, shape=(64, 140))
    assert '7 cells in 1 images' in command(image, '--overlap', 20)[1].out
    assert len(shapes) == n_times
    # The image itself is in memory as a whole, so that there is an overlay.
    assert (tmp_path / 'out' / 'a_overlay.png').exists()


@pytest.mark.parametrize('whole_px, n_times', [(4 * 64 * 140, 1), (4 * 64 * 140 - 1, N_TILES)])
def test_views_reduce_the_number_of_pixels_above_which_images_are_tiled(tmp_path, monkeypatch, n_views, whole_px,
                                                                        n_times):
    monkeypatch.setattr(prediction_plan, 'WHOLE_PX', whole_px)
    monkeypatch.setattr(prediction_plan, 'DEFAULT_TILE_PX', 64)
    image = write_image(tmp_path / 'a.png', *THREE_CELLS, shape=(64, 140))
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, (
        save_demo_checkpoint(tmp_path / 'demo.pth'), image, '--out', tmp_path / 'out', '--formats', 'csv', '--tta',
        '--overlap', 20, '--device', 'cpu', '--cfg-options', 'tta_model.turns=[0,2]'))])
    assert predict.main() == 0
    assert n_views == [4] * n_times


def test_each_tile_is_predicted_in_all_views(tmp_path, monkeypatch, n_views):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, *ON_SEAMS, shape=(64, 140))
    checkpoint = save_demo_checkpoint(tmp_path / 'demo.pth')
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, (
        checkpoint, image, '--out', tmp_path / 'out', '--formats', 'csv', '--tta', *TILES, '--device', 'cpu',
        '--score-thr', 0, '--cfg-options', 'tta_model.turns=[0,2]'))])
    assert predict.main() == 0
    assert n_views == [4] * N_TILES
    assert len(rows_of(tmp_path / 'out' / 'a_cells.csv')) > 0
