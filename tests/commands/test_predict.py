"""tools/predict.py, called in this process; only torchrun is started as a process of its own."""

import json
import subprocess
import sys

import numpy as np
import predict
import pytest
import tifffile
import torch
from mmengine.config import Config
from support.bright_detector import CONFIG as BRIGHT_CONFIG
from support.bright_detector import BrightCellDetector, save_checkpoint
from support.commands import TORCHRUN, run
from support.paths import REPO
from support.predict_command import THREE_CELLS, TILES, names_in, rows_of, save_demo_checkpoint, write_image
from support.stains import stained_image

from mmcell.cells.cells import Cells
from mmcell.checkpoints.fit import FitError
from mmcell.datasets import CellDataset
from mmcell.errors import MmcellError
from mmcell.inference import image_jobs, prediction_plan
from mmcell.inference.detector import load_detector
from mmcell.inference.predictor import DetectedCells, Predictor
from mmcell.masks.encoding import masks_to_rles
from mmcell.models import precision
from mmcell.writers.output_records import read_record, recording


def test_the_images_of_a_folder_are_predicted(tmp_path, command):
    for name in ('a.tif', 'b.png'):
        write_image(tmp_path / 'images' / name, *THREE_CELLS)
    status, output = command(tmp_path / 'images')
    assert status == 0 and '6 cells in 2 images written to' in output.out
    assert names_in(tmp_path / 'out') == [
        f'{name}_{kind}' for name in 'ab' for kind in ('cells.csv', 'labels.csv', 'labels.tif', 'overlay.png')]
    rows = rows_of(tmp_path / 'out' / 'b_cells.csv')
    # Cells are in the order in which their first pixels come, row by row.
    assert [row['class'] for row in rows] == ['blue', 'red', 'green']
    assert [row['area_px'] for row in rows] == ['64', '16', '36'] and 'area_um2' not in rows[0]
    label_map = tifffile.imread(tmp_path / 'out' / 'a_labels.tif')
    assert label_map[0, 30] == 1 and label_map[5, 5] == 2 and label_map[20, 10] == 3


@pytest.mark.parametrize('flags, kept', [
    ([], ['blue', 'red', 'green']), (['--score-thr', .85], ['blue', 'red']),
    (['--classes', 'green', 'blue'], ['blue', 'green']),
    (['--min-area', 36], ['blue', 'green']), (['--drop-border'], ['red', 'green']),
    (['--channel-order', 'bgr'], ['red', 'blue', 'green'])])
def test_filters_and_channel_order(tmp_path, command, flags, kept):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    assert command(image, '--formats', 'csv', *flags)[0] == 0
    assert [row['class'] for row in rows_of(tmp_path / 'out' / 'a_cells.csv')] == kept


@pytest.mark.parametrize('flags, step, typed', [
    ([], 1, None), ([], -1, 'bgr'), (['--channel-order', 'bgr'], -1, None), (['--channel-order', 'bgr'], 1, 'rgb')])
def test_swapped_colours_get_one_line_for_all_images(tmp_path, command, rng, flags, step, typed):
    for name in 'abc':
        (tmp_path / 'images').mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / 'images' / f'{name}.tif', stained_image(rng)[:, :, ::step], photometric='rgb')
    write_image(tmp_path / 'images' / 'd.tif', *THREE_CELLS)
    _, output = command(tmp_path / 'images', '--formats', 'csv', *flags)
    lines = [line for line in output.err.splitlines() if 'nuclei look brown' in line]
    assert len(lines) == (typed is not None)
    for line in lines:
        assert 'a.tif and 2 more' in line and line.endswith(f'try --channel-order {typed}')


@pytest.mark.parametrize(('flags', 'areas', 'n_seen'), [
    ([], [16, 12], [16, 12]), (['--allow-overlaps'], [16, 16, 4], [16, 12, 0]),
    (['--classes', 'blue'], [12], [12]), (['--classes', 'blue', '--min-area', 13], [], [])])
def test_counts_areas_and_label_maps_agree(tmp_path, command, monkeypatch, flags, areas, n_seen):
    # Red and blue share 4 pixels; green lies in red.
    squares = [(5, 5, 4), (5, 8, 4), (6, 5, 2)]
    bitmaps = np.zeros((3, 30, 40), bool)
    for bitmap, (y, x, side) in zip(bitmaps, squares, strict=True):
        bitmap[y:y + side, x:x + side] = True
    cells = Cells.from_rles(masks_to_rles(bitmaps), np.array([(x, y, side, side) for y, x, side in squares]),
                            np.array([0, 2, 1]), 30, 40, np.array([.9, .8, .7]))
    monkeypatch.setattr(Predictor, 'predict', lambda *_: DetectedCells(cells, np.zeros(0), 30))
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    status, output = command(image, '--formats', 'csv', 'labels', *flags)
    assert status == 0 and f'{len(areas)} cells in 1 images' in output.out
    rows = rows_of(tmp_path / 'out' / 'a_cells.csv')
    assert [int(row['area_px']) for row in rows] == areas
    label_map = tifffile.imread(tmp_path / 'out' / 'a_labels.tif')
    assert [(label_map == int(row['cell'])).sum() for row in rows] == n_seen


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_coco_files_state_the_channel_order(tmp_path, command, order):
    command(write_image(tmp_path / 'a.tif', *THREE_CELLS), '--formats', 'coco', '--channel-order', order)
    dataset = CellDataset(ann_file=str(tmp_path / 'out' / 'a_coco.json'), pipeline=[])
    assert dataset.channel_order == order


def test_swapped_colours_of_a_large_image_are_noticed(tmp_path, command, rng, monkeypatch):
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1)
    tifffile.imwrite(tmp_path / 'a.tif', np.tile(stained_image(rng)[:, :, ::-1], (2, 2, 1)), photometric='rgb',
                     tile=(16, 16))
    _, output = command(tmp_path / 'a.tif', '--formats', 'csv')
    assert output.err.count('nuclei look brown') == 1


def test_images_in_true_colours_and_a_model_of_swapped_files(tmp_path, command, checkpoint, rng):
    loaded = torch.load(checkpoint)
    loaded['meta']['dataset_meta']['channel_order'] = 'bgr'
    torch.save(loaded, checkpoint)
    tifffile.imwrite(tmp_path / 'a.tif', stained_image(rng), photometric='rgb')
    _, output = command(tmp_path / 'a.tif', '--formats', 'csv')
    assert 'images are read as bgr (--channel-order)' in output.err and 'try --channel-order rgb' in output.err


def test_a_model_that_was_trained_on_swapped_colours_is_warned_of(tmp_path, monkeypatch, capsys):
    path = save_checkpoint(tmp_path / 'toy.pth', model=dict(type='BrightCellDetector', data_preprocessor=dict(
        type='DetDataPreprocessor', bgr_to_rgb=True)))
    monkeypatch.setattr(sys, 'argv', ['predict.py', str(path), str(write_image(tmp_path / 'a.tif', *THREE_CELLS)),
                                      '--device', 'cpu', '--out', str(tmp_path / 'out'), '--formats', 'class-labels'])
    predict.main()
    output = capsys.readouterr().err
    assert 'warning: this model is shown the same colours as in its training, but they are wrong' in output
    assert 'class-labels: class1 is red, class2 is green, class3 is blue' in output


def test_all_formats_are_written(tmp_path, command):
    assert command(write_image(tmp_path / 'a.tif', *THREE_CELLS), '--formats', *predict.FORMATS)[0] == 0
    assert len(names_in(tmp_path / 'out')) == 13


def test_micrometres_come_from_the_file_or_the_command_line(tmp_path, command):
    tags = dict(resolution=(20_000, 20_000), resolutionunit='CENTIMETER')
    images = [write_image(tmp_path / 'with.tif', *THREE_CELLS, **tags),
              write_image(tmp_path / 'without.tif', *THREE_CELLS)]
    command(*images, '--formats', 'csv')
    assert float(rows_of(tmp_path / 'out' / 'with_cells.csv')[0]['area_um2']) == 16
    assert 'area_um2' not in rows_of(tmp_path / 'out' / 'without_cells.csv')[0]
    command(*images, '--formats', 'csv', '--mpp', '.25')
    for name in ('with', 'without'):
        assert float(rows_of(tmp_path / 'out' / f'{name}_cells.csv')[0]['area_um2']) == 4


def test_tables_have_all_cells_all_images_and_values_of_the_file(tmp_path, command):
    for name, dtype, scale in (('a.tif', np.uint8, 1), ('b.tif', np.uint16, 257)):
        write_image(tmp_path / 'images' / name, *THREE_CELLS, dtype=dtype, scale=scale)
    status, output = command(tmp_path / 'images', '--formats', 'csv', '--mpp', .5, '--neighbours-within', 12)
    assert status == 0 and 'all cells and all images in cells.csv and images.csv' in output.out
    rows = rows_of(tmp_path / 'out' / 'cells.csv')
    assert [(row['image'], row['class']) for row in rows] == [
        (image, color) for image in ('a.tif', 'b.tif') for color in ('blue', 'red', 'green')]
    # A blue square of 8 px. Centroids are at (34, 4), (7, 7) and (13, 23) px: 17.1 px = 8.5 um between the last two.
    expected = dict(area_px='64', perimeter_px='28', perimeter_um='14', solidity='1', mean_red='0', sd_blue='0',
                    mean_blue=f'{230 * 257}', neighbours_within_12_um='0')
    assert {key: rows[3][key] for key in expected} == expected
    assert [row['neighbours_within_12_um'] for row in rows[:3]] == ['0', '1', '1']
    assert all(float(row['mean_haematoxylin']) >= 0 for row in rows)
    images = rows_of(tmp_path / 'out' / 'images.csv')
    assert [(row['cells'], row['cells_of_red'], row['area_mm2']) for row in images] == [('3', '1', '0.0003')] * 2
    # A second call does nothing anew, and still has all images.
    (tmp_path / 'out' / 'cells.csv').unlink()
    _, output = command(tmp_path / 'images', '--formats', 'csv', '--mpp', .5, '--neighbours-within', 12, '--resume')
    assert 'were done before' in output.out
    assert rows_of(tmp_path / 'out' / 'cells.csv') == rows


def test_tables_of_other_origin_are_refused_before_the_work(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    (tmp_path / 'out').mkdir()
    for name in ('cells.csv', 'regions.csv'):
        (tmp_path / 'out' / name).write_text('name,value\n')
    status, output = command(image, '--formats', 'csv')
    assert status == 1 and 'cells.csv, which is not a table of an earlier call, would be overwritten' in output.err
    assert names_in(tmp_path / 'out') == []
    assert command(image, '--formats', 'labels')[0] == 0
    (tmp_path / 'out' / 'cells.csv').unlink()
    assert command(image, '--formats', 'csv')[0] == 0
    assert (tmp_path / 'out' / 'regions.csv').read_text() == 'name,value\n'


def test_sixteen_bit_images_with_and_without_a_contrast_stretch(tmp_path, command):
    write_image(tmp_path / 'images' / 'whole.tif', *THREE_CELLS, scale=257, dtype=np.uint16)
    command(tmp_path / 'images', '--formats', 'csv')
    assert [row['class'] for row in rows_of(tmp_path / 'out' / 'whole_cells.csv')] == ['blue', 'red', 'green']
    # The image of a 12-bit camera is too dark without a contrast stretch. More than half of its pixels are background.
    write_image(tmp_path / 'images' / 'camera.tif', *THREE_CELLS, scale=16, dtype=np.uint16)
    command(tmp_path / 'images' / 'camera.tif', '--formats', 'csv')
    assert rows_of(tmp_path / 'out' / 'camera_cells.csv') == []
    command(tmp_path / 'images' / 'camera.tif', '--formats', 'csv', '--percentiles', 1, 99.8)
    rows = rows_of(tmp_path / 'out' / 'camera_cells.csv')
    assert [(row['class'], row['score']) for row in rows] == [('blue', '1'), ('red', '1'), ('green', '1')]


def test_outputs_of_the_raw_layout_are_called_like_the_folders(tmp_path, command):
    for name in ('one', 'two'):
        write_image(tmp_path / 'train' / name / 'image.tif', *THREE_CELLS)
    command(tmp_path / 'train' / '*' / 'image.tif', '--formats', 'geojson')
    assert names_in(tmp_path / 'out') == ['one.geojson', 'two.geojson']


def test_bad_images_are_reported_at_the_end_and_the_others_are_predicted(tmp_path, command):
    write_image(tmp_path / 'images' / 'a.tif', *THREE_CELLS)
    (tmp_path / 'images' / 'b.tif').write_bytes(b'II*\0broken')
    (tmp_path / 'images' / 'c.png').touch()
    tifffile.imwrite(tmp_path / 'images' / 'd.tif', np.zeros((5, 4), np.float32))
    write_image(tmp_path / 'images' / 'e.tif')
    status, output = command(tmp_path / 'images', '--formats', 'csv')
    assert status == 3 and '3 cells in 2 images' in output.out
    assert 'error: 3 of 5 images could not be done' in output.err
    assert [name in output.err for name in ('b.tif', 'c.png', 'd.tif')] == [True] * 3
    assert 'Traceback' not in output.err
    assert names_in(tmp_path / 'out') == ['a_cells.csv', 'e_cells.csv']
    assert rows_of(tmp_path / 'out' / 'e_cells.csv') == []


def test_files_that_cannot_be_used_are_named_and_leftovers_are_counted(tmp_path, command):
    folder = write_image(tmp_path / 'images' / 'good.tif', *THREE_CELLS).parent
    (folder / 'link.tif').symlink_to('/annex/gone')
    (folder / 'circle.tif').symlink_to('circle.tif')
    (folder / 'pointer.tif').write_text('version https://git-lfs.github.com/spec/v1\nsize 5\n')
    (folder / 'folder.tif').mkdir()
    (folder / 'empty\n.tif').touch()
    (folder / '._good.tif').write_bytes(b'\0\5\x16\7')
    for flags in ([], ['--resume']):
        status, output = command(folder, '--formats', 'csv', *flags)
        assert status == 3 and 'error: 5 of 6 images could not be done' in output.err
        for line in (f'{folder}/circle.tif: is a broken link', f'{folder}/link.tif: is a broken link to /annex/gone',
                     f'{folder}/pointer.tif: is a Git LFS pointer', f'{folder}/folder.tif: is a folder',
                     f'{folder}/empty\\n.tif: is empty'):
            assert f'\n  {line}' in output.err
        assert 'passed over' in output.err and '1 of macOS' in output.err and output.out.count('\n') == 2
    assert names_in(tmp_path / 'out') == ['good_cells.csv']


def test_a_name_that_is_not_utf_8_is_predicted_in_all_formats(tmp_path, command):
    image = write_image(tmp_path / 'x.tif', *THREE_CELLS)
    (tmp_path / 'in').mkdir()
    image.rename(tmp_path / 'in' / 'zelle_\udce4.tif')
    status, output = command(tmp_path / 'in', '--formats', *predict.FORMATS)
    assert status == 0, output.err
    assert len(names_in(tmp_path / 'out')) == 13
    assert rows_of(tmp_path / 'out' / 'zelle_\udce4_cells.csv')[0]['image'] == r'zelle_\udce4.tif'
    document = json.loads((tmp_path / 'out' / 'zelle_\udce4_coco.json').read_text(encoding='utf-8'))
    root = (tmp_path / 'out' / document['info']['data_root']).resolve()
    assert (root / document['images'][0]['file_name']).exists()


def test_an_error_of_the_model_does_not_stop_the_others(tmp_path, command, monkeypatch):
    forward = BrightCellDetector.forward

    def fail_on_empty(self, inputs, *args, **kwargs):
        if inputs.max() == 0:
            raise RuntimeError('out of memory')
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', fail_on_empty)
    write_image(tmp_path / 'images' / 'a.tif')
    write_image(tmp_path / 'images' / 'b.tif', *THREE_CELLS)
    status, output = command(tmp_path / 'images', '--formats', 'csv')
    assert status == 3 and '3 cells in 1 images' in output.out
    assert 'a.tif: RuntimeError: out of memory' in output.err and 'Traceback' in output.err


@pytest.mark.parametrize('n_images, stops', [(2, False), (5, True)])
def test_a_model_that_fails_on_every_image_prints_one_traceback(tmp_path, command, monkeypatch, n_images, stops):
    def fail(self, inputs, *unused, **keywords):
        raise TypeError('expected 4 channels')

    monkeypatch.setattr(BrightCellDetector, 'forward', fail)
    for number in range(n_images):
        write_image(tmp_path / 'images' / f'{number}.tif', *THREE_CELLS)
    status, output = command(tmp_path / 'images', '--formats', 'csv')
    assert output.err.count('Traceback') == 1
    if stops:
        assert status == 1 and '3 images failed for the same reason, and none was done' in output.err
        assert output.err.rstrip().endswith('TypeError: expected 4 channels')
    else:
        assert status == 1 and output.err.count('.tif: TypeError: expected 4 channels') == 2


def test_failures_for_different_reasons_or_after_a_success_do_not_stop_the_run(tmp_path, command, monkeypatch):
    forward = BrightCellDetector.forward

    def fail_on_wide(self, inputs, *args, **kwargs):
        if inputs.shape[3] > 40:
            raise RuntimeError('too wide' if inputs.max() else f'too wide and empty: {inputs.shape[3]}')
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', fail_on_wide)
    for name, width, squares in (('a', 41, []), ('b', 42, []), ('c', 43, []), ('d', 40, THREE_CELLS), ('e', 41, []),
                                 ('f', 44, THREE_CELLS), ('g', 44, THREE_CELLS), ('h', 44, THREE_CELLS)):
        write_image(tmp_path / 'images' / f'{name}.tif', *squares, shape=(30, width))
    status, output = command(tmp_path / 'images', '--formats', 'csv')
    assert status == 3 and 'error: 7 of 8 images' in output.err and output.err.count('Traceback') == 1


@pytest.mark.parametrize('flags', [[], ['--resume']])
def test_an_image_that_disappears_during_the_run_does_not_end_it(tmp_path, command, monkeypatch, flags):
    forward = BrightCellDetector.forward
    images = [write_image(tmp_path / 'images' / f'{name}.tif', *THREE_CELLS) for name in 'abc']

    def remove_second_image(self, *args, **kwargs):
        images[1].unlink(missing_ok=True)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BrightCellDetector, 'forward', remove_second_image)
    status, output = command(tmp_path / 'images', '--formats', 'csv', *flags)
    assert status == 3 and '6 cells in 2 images' in output.out
    assert 'error: 1 of 3 images' in output.err and str(images[1]) in output.err and 'Traceback' not in output.err


def test_the_exit_status_is_1_if_all_images_are_bad(tmp_path, command):
    (tmp_path / 'a.tif').touch()
    assert command(tmp_path / 'a.tif')[0] == 1


def test_resume_skips_images_that_are_done(tmp_path, command):
    for name in ('a.tif', 'b.tif'):
        write_image(tmp_path / 'images' / name, *THREE_CELLS)
    command(tmp_path / 'images', '--formats', 'csv', 'geojson')
    (tmp_path / 'out' / 'a.geojson').unlink()
    (tmp_path / 'out' / 'b.geojson').write_text('kept')
    status, output = command(tmp_path / 'images', '--formats', 'csv', 'geojson', '--resume')
    assert status == 0 and '3 cells in 1 images' in output.out and '1 images were done before' in output.out
    assert (tmp_path / 'out' / 'a.geojson').exists() and (tmp_path / 'out' / 'b.geojson').read_text() == 'kept'


@pytest.mark.parametrize('flags', [
    ['--score-thr', .6], ['--min-area', 2], ['--mpp', .5], ['--percentiles', 1, 99], ['--channel-order', 'bgr'],
    ['--tile', 1024], ['--classes', 'red'], ['--cfg-options', 'model.init_cfg=None']])
def test_resume_predicts_again_if_settings_changed(tmp_path, command, flags):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    command(image, '--formats', 'csv')
    assert 'in 1 images written' in command(image, '--formats', 'csv', '--resume', *flags)[1].out
    assert '1 images were done before' in command(image, '--formats', 'csv', '--resume', *flags)[1].out


@pytest.mark.parametrize('flags', [[], ['--resume']])
def test_results_of_other_settings_are_not_replaced_in_silence(tmp_path, command, flags):
    for name in 'ab':
        write_image(tmp_path / 'images' / f'{name}.tif', *THREE_CELLS)
    first = command(tmp_path / 'images' / 'a.tif', '--formats', 'csv', 'geojson')[1].err
    first += command(tmp_path / 'images' / 'a.tif', '--formats', 'csv')[1].err
    changed = command(tmp_path / 'images', '--formats', 'csv', '--score-thr', .6, '--min-area', 2, *flags)[1].err
    again = command(tmp_path / 'images', '--formats', 'csv', '--score-thr', .6, '--min-area', 2, *flags)[1].err
    line, = (line for line in changed.splitlines() if 'replaced' in line)
    assert line.startswith(f'note: the results of 1 of 2 images in {tmp_path / "out"} were made with other settings')
    assert '(--score-thr, --min-area)' in line
    assert line.endswith('their files of the formats geojson stay as they were, and do not match the new ones')
    assert 'replaced' not in first + again


@pytest.mark.parametrize('flags', [
    ['--roi', 'roi.geojson'], ['--no-rescale'], ['--tile', 256], ['--tile', 256, '--upscale', 2], ['--drop-border'],
    ['--mpp', .5]])
def test_every_option_on_which_results_depend_is_named_when_it_changes(tmp_path, command, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    corners = [[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]]
    (tmp_path / 'roi.geojson').write_text(json.dumps({
        'type': 'Feature', 'properties': {}, 'geometry': {'type': 'Polygon', 'coordinates': [corners]}}))
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    command(image, '--formats', 'csv')
    changed = command(image, '--formats', 'csv', *flags)[1].err
    names = ', '.join(flag for flag in flags if str(flag).startswith('--'))
    assert f'other settings ({names}), and are replaced' in changed
    assert 'are replaced' not in command(image, '--formats', 'csv', *flags)[1].err


def test_resume_predicts_again_in_another_precision(tmp_path, command, monkeypatch):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    status, output = command(image, '--formats', 'csv', '--amp')
    assert status == 1 and 'BrightCellDetector has no backbone, neck or head' in output.err
    monkeypatch.setattr(precision, 'network_parts', lambda model: [torch.nn.Identity()])
    for flags, is_done, line in [([], False, 'off, because the processor'), (['--no-amp'], True, 'off, because of'),
                                 (['--amp'], False, 'on (bfloat16), because of --amp'), (['--amp'], True, 'on'),
                                 ([], False, 'off')]:
        monkeypatch.setattr(precision, 'has_fast_bfloat16', lambda: False)
        output = command(image, '--formats', 'csv', '--resume', *flags)[1]
        assert ('1 images were done before' in output.out) == is_done and f'mixed precision: {line}' in output.err


def test_editable_cells_are_annotations_of_qupath(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    kinds = []
    for flags in ([], ['--editable', '--resume']):
        assert '3 cells in 1 images written' in command(image, '--formats', 'geojson', *flags)[1].out
        features = json.loads((tmp_path / 'out' / 'a.geojson').read_text())['features']
        kinds.append({feature['properties']['objectType'] for feature in features})
    assert kinds == [{'detection'}, {'annotation'}]
    status, output = command(image, '--formats', 'csv', '--editable')
    assert status == 2 and '--editable is about the formats geojson and geojson-gz' in output.err


def test_resume_predicts_again_if_image_checkpoint_or_formats_changed(tmp_path, command, checkpoint):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    command(image, '--formats', 'csv', 'geojson')
    write_image(image, *THREE_CELLS[:2])
    assert '2 cells in 1 images' in command(image, '--formats', 'csv', '--resume')[1].out
    # The GeoJSON file was made from the old version of the image.
    assert '2 cells in 1 images' in command(image, '--formats', 'csv', 'geojson', '--resume')[1].out
    save_checkpoint(checkpoint)
    assert '2 cells in 1 images' in command(image, '--formats', 'csv', '--resume')[1].out


@pytest.mark.parametrize('flags', [[], ['--resume']])
def test_outputs_of_another_image_are_not_overwritten(tmp_path, command, flags):
    first, second = (write_image(tmp_path / folder / 'a.tif', *THREE_CELLS) for folder in 'xy')
    command(first, '--formats', 'csv')
    before = (tmp_path / 'out' / 'a_cells.csv').stat().st_mtime_ns
    _, output = command(second, '--formats', 'csv', *flags)
    assert f'would replace the outputs of {first.resolve()} in' in output.err and '--out' in output.err
    assert (tmp_path / 'out' / 'a_cells.csv').stat().st_mtime_ns == before
    assert command(first, '--formats', 'csv')[0] == 0


@pytest.mark.parametrize('flags', [[], ['--resume']])
@pytest.mark.parametrize('record', [None, '{"half', '{"image": 3}'])
@pytest.mark.parametrize('name', ['a_labels.tif', 'a_class2.tif', 'a_cells.csv', 'a.geojson'])
def test_files_that_are_no_outputs_are_not_overwritten(tmp_path, command, name, record, flags):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    foreign = tmp_path / 'out' / name
    foreign.parent.mkdir()
    foreign.write_text('drawn by hand')
    if record is not None:
        (tmp_path / 'out' / '.a.json').write_text(record)
    status, output = command(image, '--formats', 'labels', 'class-labels', 'csv', 'geojson', *flags)
    assert status == 1 and f'{foreign} would be overwritten' in output.err
    assert foreign.read_text() == 'drawn by hand' and names_in(tmp_path / 'out') == [name]
    # Outputs of other formats lie beside it, and their record does not make it an output.
    assert command(image, '--formats', 'rois')[0] == command(image, '--formats', 'rois', 'coco')[0] == 0
    assert command(image, '--formats', 'labels', 'class-labels', 'csv', 'geojson', *flags)[0] == 1
    assert foreign.read_text() == 'drawn by hand'


def test_outputs_that_were_corrected_are_not_overwritten(tmp_path, command):
    images = [write_image(tmp_path / f'{name}.tif', *THREE_CELLS) for name in 'ab']
    assert command(*images, '--formats', 'labels', 'geojson')[0] == 0
    corrected = tmp_path / 'out' / 'a.geojson'
    corrected.write_text(corrected.read_text() + '\n')
    # The other image is predicted again.
    status, output = command(*images, '--formats', 'labels', 'geojson', '--score-thr', .1)
    assert status == 3 and f'{corrected} was changed after it was written' in output.err and '3 cells' in output.out
    assert corrected.read_text().endswith('\n')
    # What is done is skipped, also if it was corrected since; other formats do not touch it.
    status, output = command(images[0], '--formats', 'labels', 'geojson', '--resume')
    assert status == 0 and '1 images were done before' in output.out
    assert command(*images, '--formats', 'csv')[0] == 0
    assert command(*images, '--formats', 'geojson')[0] == 3
    corrected.unlink()
    assert command(*images, '--formats', 'labels', 'geojson')[0] == 0


@pytest.mark.parametrize('sums', [3, ['a_cells.csv'], {'a_cells.csv': 3}, {'../x': ''}])
def test_damaged_sums_in_a_record_do_not_fail(tmp_path, command, sums):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    command(image, '--formats', 'csv')
    path = tmp_path / 'out' / '.a.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'files': sums}))
    status, output = command(image, '--formats', 'csv')
    assert status == (1 if isinstance(sums, dict) else 0) and 'Traceback' not in output.err


def test_outputs_of_earlier_formats_are_replaced(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    for key in ('csv', 'geojson', 'csv'):
        assert command(image, '--formats', key)[0] == 0
    # The records of earlier versions do not name the files.
    path = tmp_path / 'out' / '.a.json'
    record = json.loads(path.read_text())
    assert sorted(record.pop('files')) == ['a.geojson', 'a_cells.csv']
    path.write_text(json.dumps(record))
    assert command(image, '--formats', 'csv', 'geojson')[0] == 0


def test_processes_with_other_formats_do_not_lose_each_others_files(tmp_path):
    image, csv, geojson = 'x.tif', tmp_path / 'a_cells.csv', tmp_path / 'a.geojson'
    with recording(tmp_path, 'a', {'image': image}, [csv]):
        csv.write_text('1')
        with recording(tmp_path, 'a', {'image': image}, [geojson]):
            geojson.write_text('{}')
    files = read_record(tmp_path, 'a')['files']
    assert sorted(files) == ['a.geojson', 'a_cells.csv'] and None not in files.values()


def test_a_file_of_a_class_that_was_not_written_is_no_output(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    assert command(image, '--formats', 'class-labels')[0] == 0
    path = tmp_path / 'out' / '.a.json'
    record = json.loads(path.read_text())
    del record['files']['a_class3.tif']
    path.write_text(json.dumps(record))
    assert 'a_class3.tif would be overwritten' in command(image, '--formats', 'class-labels')[1].err


def test_a_link_to_nothing_is_not_overwritten(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a_cells.csv').symlink_to('elsewhere.csv')
    status, output = command(image, '--formats', 'csv')
    assert status == 1 and 'would be overwritten' in output.err


def test_outputs_whose_replacement_failed_have_a_record_without_settings(tmp_path, command, monkeypatch):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    command(image, '--formats', 'csv')
    monkeypatch.setattr(image_jobs, 'writing_cells', lambda *unused: 1 / 0)
    assert command(image, '--formats', 'csv')[0] == 1
    monkeypatch.undo()
    assert read_record(tmp_path / 'out', 'a') == {
        'image': str(image.resolve()), 'files': {'a_cells.csv': None}}
    assert '3 cells in 1 images' in command(image, '--formats', 'csv', '--resume')[1].out


def test_tables_are_not_made_of_an_image_that_another_process_has_begun(tmp_path, command, monkeypatch):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    monkeypatch.setattr('mmcell.writers.output_records.read_record', lambda folder, name: {'image': str(image)})
    status, output = command(image, '--formats', 'csv')
    assert status == 1 and 'another process predicts a into this folder' in output.err
    assert not (tmp_path / 'out' / 'cells.csv').exists()


def test_leftovers_of_a_small_image_are_removed(tmp_path, command):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / f'.a_cells.csv.{ended.pid}.tmp').touch()
    assert command(write_image(tmp_path / 'a.tif', *THREE_CELLS), '--formats', 'csv')[0] == 0
    assert names_in(tmp_path / 'out') == ['a_cells.csv']


@pytest.mark.parametrize('arguments, message', [
    (['a.tif', '--tile', 16, '--overlap', 20], '--tile, --overlap'),
    (['a.tif', '--overlap', -5], 'got -5'),
    (['a.tif', '--tta'], 'BrightCellDetector is neither'),
    (['a.tif', '--classes', 'grey'],
     "--classes: ['grey'] unknown; the checkpoint has the classes ['red', 'green', 'blue']"),
    (['none/*.tif'], 'no such image'),
    (['a.tif', '--launcher', 'pytorch'], 'start with torchrun'),
    (['a.tif', '--upscale', 2], 'give --tile, too'),
    (['a.tif', '--tile', 0], 'a side of at least 32 px, got 0'),
    (['a.tif', '--tile', 64, '--overlap', 20, '--upscale', 'nan'], 'upscale positive and finite'),
])
def test_impossible_options_are_refused_before_anything_is_written(tmp_path, command, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / 'a.tif', *THREE_CELLS)
    _, output = command(*arguments)
    assert message in output.err
    assert not any((tmp_path / 'out').glob('*'))


def test_a_folder_that_cannot_be_written_to_is_reported_before_the_model_is_loaded(tmp_path, command, checkpoint):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    (tmp_path / 'out').touch()
    checkpoint.unlink()
    _, output = command(image)
    assert f'cannot write to the folder {tmp_path / "out"}' in output.err and '--out' in output.err


@pytest.mark.parametrize('flags', [
    ['--mpp', 0], ['--mpp', 'nan'], ['--mpp', 'inf'], ['--score-thr', 1.1], ['--score-thr', -.1],
    ['--score-thr', 'nan'], ['--min-area', -1], ['--percentiles', 50, 50], ['--formats', 'tiff'],
    ['--cfg-options', 'foo']])
def test_wrong_values_are_refused(tmp_path, command, flags):
    assert command(write_image(tmp_path / 'a.tif'), *flags)[0] == 2


@pytest.mark.parametrize('device', ['cuda:99', 'gpu'])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(MmcellError, match=f'--device {device}: '):
        predict.refuse_missing_device(device)


def test_outputs_in_the_folder_of_the_images_are_not_predicted(tmp_path, command, monkeypatch):
    write_image(tmp_path / 'out' / 'a.tif', *THREE_CELLS)
    for arguments in ([tmp_path / 'out'], [tmp_path / 'out'], [tmp_path / 'out' / '*.*', '--resume']):
        status, output = command(*arguments)
        assert status == 0 and 'images' in output.out
    assert '1 images were done before' in output.out
    files = ['a.tif', 'a_cells.csv', 'a_labels.csv', 'a_labels.tif', 'a_overlay.png']
    assert names_in(tmp_path / 'out') == files
    # Outputs are still recognised after a run with other formats, after a run that failed, and in a renamed folder.
    for _ in range(2):
        assert '3 cells in 1 images' in command(
            tmp_path / 'out', '--formats', 'class-labels', 'label-pyramid', 'geojson-gz')[1].out
    monkeypatch.setattr(image_jobs, 'writing_cells', lambda *unused: 1 / 0)
    assert command(tmp_path / 'out')[0] == 1
    monkeypatch.undo()
    assert names_in(tmp_path / 'out') == sorted([
        *files, 'a_class1.tif', 'a_class2.tif', 'a_class3.tif', 'a_labels.ome.tif', 'a.geojson.gz'])
    (tmp_path / 'out').rename(tmp_path / 'images')
    (tmp_path / 'out').mkdir()
    command(tmp_path / 'images', '--formats', 'csv')
    assert names_in(tmp_path / 'out') == ['a_cells.csv']


@pytest.mark.parametrize('content', [
    '{"formats": ["csv"]}', '[1]', '', '{"image": 3}', pytest.param('[' * 100_000, id='deep'),
    '{"image": "x", "settings": null, "formats": "masks"}'])
def test_foreign_or_damaged_records_are_ignored(tmp_path, command, content):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS)
    (tmp_path / 'out' / '.z.json').mkdir(parents=True)
    (tmp_path / 'out' / '.y.json').write_text(content)
    assert command(image, '--formats', 'csv', '--resume')[0] == 0
    assert 'no such image' in command(tmp_path / 'out')[1].err


@pytest.mark.parametrize(('min_score', 'is_full'), [(0, True), (.9, False)])
@pytest.mark.parametrize('where', ['whole', 'tiles', 'one tile', 'file'])
def test_a_model_that_reached_its_limit_of_detections_is_reported(tmp_path, monkeypatch, capsys, min_score, is_full,
                                                                  where):
    if where == 'file':
        monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    images = [write_image(tmp_path / 'images' / name, *THREE_CELLS, shape=(64, 140)) for name in ('a.tif', 'b.tif')]
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, (
        save_demo_checkpoint(tmp_path / 'demo.pth'), *images, '--out', tmp_path / 'out', '--formats', 'csv',
        *{'whole': [], 'one tile': ['--tile', 160]}.get(where, TILES), '--device', 'cpu', '--score-thr', min_score))])
    assert predict.main() == 0
    printed = capsys.readouterr().err
    assert (f'{images[0]} and 1 more: the model returned 20 cells, the most that it may return' in printed) is is_full
    assert ('--cfg-options model.test_cfg.rcnn.max_per_img=N' in printed) is is_full
    assert ('note: ' in printed) is is_full


def test_a_dark_image_is_reported(tmp_path, command):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, scale=16, dtype=np.uint16)
    assert f'note: {image}: very dark' in command(image, '--formats', 'csv')[1].err
    notes = [line for line in command(image, '--formats', 'csv', '--percentiles', 1, 99.8)[1].err.splitlines()
             if 'note: ' in line]
    assert len(notes) == 1 and notes[0].endswith('other settings (--percentiles), and are replaced')


def test_a_turned_image_is_reported_and_its_outputs_are_turned(command, tmp_path):
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, extratags=[(274, 'H', 1, 6, True)])
    assert f'note: {image}: turned as the tag Orientation' in command(image, '--formats', 'labels')[1].err
    assert tifffile.imread(tmp_path / 'out' / 'a_labels.tif').shape == (40, 30)


def test_options_of_tiles_are_refused_if_the_tiles_come_from_the_config(tmp_path, command):
    config = tmp_path / 'tiles.py'
    Config({**BRIGHT_CONFIG, 'model': dict(type='TiledDetector', detector=BRIGHT_CONFIG['model'], tile_px=64,
                                           overlap_px=20)}).dump(config)
    image = write_image(tmp_path / 'a.tif', *THREE_CELLS, shape=(64, 140))
    assert command(image, '--config', config)[0] == 0
    _, output = command(image, '--config', config, '--overlap', 32)
    assert 'give --tile, too' in output.err


def test_an_image_is_never_overwritten(tmp_path, command):
    write_image(tmp_path / 'out' / 'a.tif', *THREE_CELLS)
    bad = write_image(tmp_path / 'out' / 'a_labels.tif', *THREE_CELLS)
    before = bad.read_bytes()
    _, output = command(tmp_path / 'out')
    assert 'a_labels.tif would be overwritten' in output.err
    assert bad.read_bytes() == before


@pytest.mark.slow
def test_two_processes_write_the_same_files_and_report_every_bad_image(tmp_path):
    run('data_prep/make_demo_data.py', tmp_path / 'data', '--images', 2, '--test-images', 5, '--size', 96)
    images = tmp_path / 'data' / 'test_release'
    checkpoint = save_demo_checkpoint(tmp_path / 'demo.pth')
    for name, launcher, flags in (('one', [], []), ('two', TORCHRUN, ['--launcher', 'pytorch'])):
        log = run(*launcher, REPO / 'tools/predict.py', checkpoint, images, '--out', tmp_path / name, '--score-thr', 0,
                  '--device', 'cpu', '--formats', *predict.FORMATS, *flags, cwd=tmp_path)
        assert log.count('in 5 images written') == 1
    one, two = ({file: (tmp_path / name / file).read_bytes() for file in names_in(tmp_path / name)}
                for name in ('one', 'two'))
    assert len(one) == 5 * 14 and one == two
    assert all(len(rows_of(tmp_path / 'two' / name)) > 3 for name in two if name.endswith('_cells.csv'))
    bad = sorted(images.glob('*.tif'))[1]  # is predicted by the second process
    bad.write_bytes(b'II*\0broken')
    with pytest.raises(AssertionError, match=f'error: 1 of 5 images could not be done(.|\n)*{bad.name}'):
        run(*TORCHRUN, REPO / 'tools/predict.py', checkpoint, images, '--out', tmp_path / 'bad', '--formats', 'csv',
            '--device', 'cpu', '--launcher', 'pytorch', cwd=tmp_path)
    assert len(names_in(tmp_path / 'bad')) == 4


def test_a_model_whose_heads_have_another_number_of_classes_is_refused(tmp_path):
    checkpoint = save_demo_checkpoint(tmp_path / 'demo.pth')
    loaded = torch.load(checkpoint)
    loaded['meta']['dataset_meta']['classes'] = ('a', 'b', 'c')
    torch.save(loaded, checkpoint)
    with pytest.raises(FitError, match=r'the model has 4 classes, the data 3 \(a, b, c\)'):
        load_detector(checkpoint)
