"""tools/predict.py with images, arrays and pyramids of other scales than that of the model."""

import json
import sys

import cv2
import numpy as np
import predict
import pytest
import tifffile
import torch
from mmengine.config import Config
from support.bright_detector import CLASSES, BrightCellDetector, save_checkpoint
from support.bright_detector import CONFIG as BRIGHT_CONFIG
from support.image_files import write_pyramid
from support.predict_command import THREE_CELLS, rows_of, save_demo_checkpoint, write_image

import mmcell
from mmcell.images.pyramid import Pyramid
from mmcell.inference import prediction_plan
from mmcell.inference.detector import load_detector
from mmcell.inference.predictor import Predictor
from mmcell.models.folding import fold_batch_norm

read_level = Pyramid.read


@pytest.fixture
def at_quarter_um(tmp_path, checkpoint):
    """A model that was trained at .25 um per pixel."""
    return save_checkpoint(tmp_path / 'toy.pth', dict(
        cfg=Config(BRIGHT_CONFIG).pretty_text, dataset_meta=dict(classes=CLASSES, channel_order='rgb', mpp=.25)))


def write_scaled(path, mpp, factor):
    """Writes the same three cells, each px of which becomes a square of ``factor`` px."""
    image = np.zeros((64, 160, 3), np.uint8)
    for channel, y, x, side, value in THREE_CELLS:
        image[y:y + side, x:x + side, channel] = value
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    per_cm = 1e4 / mpp
    tifffile.imwrite(path, image, photometric='rgb', resolution=(per_cm, per_cm), resolutionunit='CENTIMETER',
                     tile=(64, 64))
    return path


@pytest.mark.parametrize(('flags', 'options'), [([], {}), (['--allow-overlaps'], dict(allow_overlaps=True))])
@pytest.mark.parametrize('mpp', [None, .5])
def test_an_array_gives_the_same_cells_as_its_file(tmp_path, monkeypatch, rng, flags, options, mpp):
    checkpoint = save_demo_checkpoint(tmp_path / 'demo.pth')
    loaded = torch.load(checkpoint)
    loaded['meta']['dataset_meta'].update(mpp=.25, channel_order='rgb')
    torch.save(loaded, checkpoint)
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), rng.integers(0, 255, (70, 90, 3), np.uint8))
    scale = [] if mpp is None else ['--mpp', mpp]
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, (
        checkpoint, image, '--out', tmp_path / 'out', '--formats', 'coco', 'labels', '--score-thr', 0, '--device',
        'cpu', *flags, *scale))])
    assert predict.main() == 0
    written = json.loads((tmp_path / 'out' / 'a_coco.json').read_text())
    detector = load_detector(checkpoint)
    fold_batch_norm(detector)
    cells = mmcell.predict_array(detector, mmcell.read_image(image), 0., mpp=mpp, **options)
    names = {category['id']: category['name'] for category in written['categories']}
    expected = sorted((cell['segmentation']['counts'], names[cell['category_id']]) for cell in written['annotations'])
    assert sorted((rle['counts'] if isinstance(rle['counts'], str) else rle['counts'].decode(), name)
                  for rle, name in zip(cells.rles, cells.classes, strict=True)) == expected
    assert 0 < len(cells) < 20 + bool(options) and (np.diff(cells.scores) <= 0).all()
    assert ((cells.label_map > 0) == (tifffile.imread(tmp_path / 'out' / 'a_labels.tif') > 0)).all()
    others = [mmcell.predict_array(detector, mmcell.read_image(image), 0., mpp=.5 if mpp is None else None, **options),
              mmcell.predict_array(detector, mmcell.read_image(image), 0., mpp=mpp, allow_overlaps=not options)]
    assert all(other.rles != cells.rles for other in others)


def test_a_pyramid_gives_the_same_cells_from_each_level(tmp_path, at_quarter_um, command, monkeypatch, rng):
    pytest.importorskip('tiffslide', reason='tiffslide is not installed')
    image = np.zeros((1200, 1600, 3), np.uint8)
    for place in range(80):
        y, x = 30 + 150 * (place // 10), 30 + 160 * (place % 10)
        cv2.ellipse(image, (x + 40, y + 40), tuple(map(int, rng.integers(16, 40, 2))), int(rng.integers(180)), 0, 360,
                    [int(200 * (place % 3 == channel)) for channel in range(3)], -1)
    monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    # The same tissue at .125 and at .25 um per pixel, which is the scale of the model.
    found, read = {}, []
    for name, pixels, mpp in (('fine', image, .125), ('coarse', image[::2, ::2], .25)):
        write_pyramid(tmp_path / f'{name}.tif', pixels, resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit='CENTIMETER')
        for has_levels in (True, False):
            levels = [] if has_levels else ['tiffslide', 'openslide']
            with monkeypatch.context() as patch:
                for module in levels:
                    patch.setitem(sys.modules, module, None)
                read.clear()
                patch.setattr(Pyramid, 'read', lambda self, *rect: read.append(rect) or read_level(self, *rect))
                assert command(tmp_path / f'{name}.tif', '--formats', 'labels', '--tile', 256, '--overlap', 96)[0] == 0
                assert bool(read) is (has_levels and name == 'fine')
            found[name, has_levels] = tifffile.imread(tmp_path / 'out' / f'{name}_labels.tif')
    reference = found['coarse', True].repeat(2, axis=0).repeat(2, axis=1)
    for label_map in (found['fine', True], found['fine', False]):
        overlaps = []
        for number in range(1, label_map.max() + 1):
            cell = label_map == number
            other = np.bincount(reference[cell]).argmax()
            overlaps.append((cell & (reference == other)).sum() / (cell | (reference == other)).sum())
        assert label_map.max() == reference.max() > 60 and np.quantile(overlaps, .05) > .9


@pytest.mark.parametrize('way', ['whole', 'tiles', 'file'])
@pytest.mark.parametrize(('mpp', 'factor', 'note'), [
    (.25, 4, None), (.24, 4, None), (.5, 2, 'from 0.5 um per pixel to the 0.25 of the model'),
    (.125, 8, 'from 0.125 um per pixel to the 0.25 of the model')])
def test_images_of_another_scale_are_brought_to_that_of_the_model(tmp_path, at_quarter_um, command, monkeypatch, way,
                                                                  mpp, factor, note):
    if way == 'file':
        monkeypatch.setattr(prediction_plan, 'STREAMED_PX', 1000)
    shown = []
    forward = BrightCellDetector.forward
    monkeypatch.setattr(BrightCellDetector, 'forward', lambda self, inputs, **rest: shown.extend(
        image.shape[1:] for image in inputs) or forward(self, inputs, **rest))
    image = write_scaled(tmp_path / 'a.tif', mpp, factor)
    tiles = ['--tile', 128, '--overlap', 64] if way != 'whole' else []
    status, output = command(image, '--formats', 'csv', 'labels', *tiles)
    assert status == 0, output.err
    assert (note is None) == ('--no-rescale' not in output.err) and (note or '') in output.err
    # The network sees 256 x 640 px in any case, and the cells are squares of the image.
    assert max(shape[0] for shape in shown) == (256 if way == 'whole' else 128)
    rows = sorted(rows_of(tmp_path / 'out' / 'a_cells.csv'), key=lambda row: row['class'])
    assert [row['class'] for row in rows] == ['blue', 'green', 'red']
    for row, (_, y, x, side, _) in zip(rows, (THREE_CELLS[2], THREE_CELLS[1], THREE_CELLS[0]), strict=True):
        assert float(row['area_um2']) == pytest.approx((side * factor * mpp) ** 2, rel=.1)
        assert float(row['centroid_x_px']) == pytest.approx((x + side / 2) * factor, abs=.5 * factor)
        assert float(row['centroid_y_px']) == pytest.approx((y + side / 2) * factor, abs=.5 * factor)


def test_scales_that_cannot_be_right_are_refused_and_may_be_ignored(tmp_path, at_quarter_um, command):
    image = write_scaled(tmp_path / 'a.tif', 5, 1)
    status, output = command(image, '--formats', 'csv')
    assert status == 1 and 'has 5 um per pixel, but the model was trained at 0.25: a factor of 20 is pro' in output.err
    assert command(image, '--formats', 'csv', '--no-rescale')[0] == 0
    unknown = write_image(tmp_path / 'b.tif', *THREE_CELLS)
    assert 'does not state its scale' in command(unknown, '--formats', 'csv')[1].err
    lines = command(unknown, '--formats', 'csv', '--mpp', .25)[1].err.splitlines()
    replaced, *others = sorted(lines, key=lambda line: 'are replaced' not in line)
    assert replaced.endswith('other settings (--mpp), and are replaced') and 'scale' not in ' '.join(others)
    assert command(unknown, '--mpp', 1000)[0] == 2


def test_the_scale_of_the_pipeline_counts_if_no_other_is_known(tmp_path):
    loader, pack = BRIGHT_CONFIG['test_dataloader']['dataset']['pipeline']
    data = dict(type='CellDataset', ann_file='a.json', pipeline=[loader, dict(type='ResizeToScale', mpp=.3), pack])
    path = save_checkpoint(tmp_path / 'scaled.pth', test_dataloader=dict(dataset=data))
    assert Predictor(load_detector(path)).mpp == .3


def test_another_scale_is_predicted_again(tmp_path, at_quarter_um, command):
    image = write_image(tmp_path / 'b.tif', *THREE_CELLS)
    for flags, is_done in ((['--mpp', .25], False), (['--mpp', .25], True), (['--mpp', .5], False),
                           (['--mpp', .5, '--no-rescale'], False)):
        _, output = command(image, '--formats', 'csv', '--resume', *flags)
        assert ('were done before' in output.out) is is_done
