"""The front door: what ``import mmcell`` offers, and that it is light."""

import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config
from support.bright_detector import CLASSES, CONFIG, save_checkpoint
from support.paths import REPO

import mmcell

SQUARES = [(slice(5, 15), slice(5, 15), (200, 0, 0)), (slice(20, 26), slice(30, 40), (0, 150, 0)),
           (slice(30, 34), slice(4, 9), (0, 0, 120))]


@pytest.fixture
def image():
    pixels = np.zeros((40, 60, 3), np.uint8)
    for rows, columns, color in SQUARES:
        pixels[rows, columns] = color
    return pixels


def test_what_is_public():
    # A name that is added here is promised for good; a name that is removed breaks somebody's notebook.
    assert set(mmcell.__all__) == {
        'MmcellError', 'Prediction', '__version__', 'load_detector', 'predict_array', 'read_image'}
    assert all(getattr(mmcell, name) is not None and name in dir(mmcell) for name in mmcell.__all__)
    with pytest.raises(AttributeError, match='no attribute .load_detectors.'):
        mmcell.load_detectors  # noqa: B018


def test_importing_is_light():
    code = 'import mmcell, sys; print({"torch", "cv2", "scipy", "mmengine.runner"} & set(sys.modules))'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=REPO)
    assert run.stdout == 'set()\n'


def test_an_array_is_predicted(tmp_path, image):
    detector = mmcell.load_detector(save_checkpoint(tmp_path / 'model.pth'))
    cells = mmcell.predict_array(detector, image, min_score=.5)
    # 200 and 150 of 255; 120 is below one half.
    assert cells.classes == [CLASSES[0], CLASSES[1]]
    assert cells.scores == pytest.approx([200 / 255, 150 / 255])
    expected = np.zeros((40, 60), np.int32)
    for number, (rows, columns, _) in enumerate(SQUARES[:2], start=1):
        expected[rows, columns] = number
    assert cells.label_map.dtype == np.int32 and (cells.label_map == expected).all()
    assert len(cells) == len(cells.rles) == 2
    assert repr(cells) == 'Prediction(2 cells in 40 x 60 px, {green: 1, red: 1})'
    assert len(mmcell.predict_array(detector, image, min_score=0.)) == 3


def test_the_contrast_stretch_of_the_training_is_applied(tmp_path, image):
    dataset = {**CONFIG['test_dataloader']['dataset'], 'pipeline': [
        dict(type='LoadTiff', percentiles=(0, 100)),
        dict(type='PackCellInputs', meta_keys=('img_id', 'ori_shape', 'img_shape'))]}
    detector = mmcell.load_detector(save_checkpoint(tmp_path / 'model.pth', test_dataloader=dict(dataset=dataset)))
    # The brightest pixel of each channel becomes 255.
    assert mmcell.predict_array(detector, image).scores == pytest.approx([1., 1., 1.])


def test_an_array_is_predicted_in_tiles(tmp_path, image):
    detector = mmcell.load_detector(save_checkpoint(tmp_path / 'model.pth'))
    large = np.zeros((400, 500, 3), np.uint8)
    large[180:220, 225:285] = image[:, :]
    tiled = mmcell.predict_array(detector, large, tile_px=256)
    whole = mmcell.predict_array(detector, large)
    assert tiled.classes == whole.classes and (tiled.label_map == whole.label_map).all()
    with pytest.raises(mmcell.MmcellError, match='tile_px'):
        mmcell.predict_array(detector, large, tile_px=64)


@pytest.mark.parametrize(('mpp', 'message'), [
    (0., 'mpp must be from'), (300., 'mpp must be from'), (10., 'a factor of 40 is probably a mistake')])
def test_an_impossible_scale_is_refused(tmp_path, image, mpp, message):
    meta = dict(cfg=Config(CONFIG).pretty_text, dataset_meta=dict(classes=CLASSES, channel_order='rgb', mpp=.25))
    detector = mmcell.load_detector(save_checkpoint(tmp_path / 'model.pth', meta))
    with pytest.raises(mmcell.MmcellError, match=f'the image: .*{message}'):
        mmcell.predict_array(detector, image, mpp=mpp)


@pytest.mark.parametrize('wrong, got', [
    (np.zeros((4, 4, 4), np.uint8), r'uint8 of shape \(4, 4, 4\)'),
    (np.zeros((0, 4, 3), np.uint8), r'uint8 of shape \(0, 4, 3\)'),
    (np.zeros((4, 4, 3)), r'float64 of shape \(4, 4, 3\)'),
    ([[0, 1]], 'list')])
def test_anything_but_an_rgb_image_is_refused(tmp_path, wrong, got):
    detector = mmcell.load_detector(save_checkpoint(tmp_path / 'model.pth'))
    with pytest.raises(mmcell.MmcellError, match=rf'got {got}; mmcell.read_image'):
        mmcell.predict_array(detector, wrong)
