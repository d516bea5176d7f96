"""The precision in which image files are predicted: which of their cells decide, and what is recorded."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from support.bright_detector import BrightCellDetector, save_checkpoint

from mmcell.inference import precision
from mmcell.inference.detector import load_detector
from mmcell.inference.image_jobs import ImageJob
from mmcell.inference.predictor import Predictor
from mmcell.models.precision import Precision


@pytest.fixture
def job(tmp_path):
    predictor = Predictor(load_detector(save_checkpoint(tmp_path / 'toy.pth')), tile_px=64, overlap_px=20)
    return ImageJob(predictor, ('csv',), tmp_path, 'rgb', None, filters=dict(min_score=.85), settings={'tta': False})


def write_image(path, *squares, shape):
    """Writes a black image with one red square for each (y, x, side, value)."""
    image = np.zeros((*shape, 3), np.uint8)
    for y, x, side, value in squares:
        image[y:y + side, x:x + side, 0] = value
    tifffile.imwrite(path, image, photometric='rgb')
    return path


def test_the_cells_that_are_kept_in_the_middle_of_readable_images_are_compared(job, tmp_path, monkeypatch):
    # The tile in the middle has the columns 68 to 131: the first cell lies outside, and the last one has a low score.
    large = write_image(tmp_path / 'large.tif', (10, 5, 8, 255), (20, 80, 10, 255), (5, 100, 10, 204), shape=(40, 200))
    small = write_image(tmp_path / 'small.tif', (0, 0, 3, 255), shape=(20, 30))
    (tmp_path / 'broken.tif').write_bytes(b'II*\0 and nothing else')
    # The first pixels of this file can be read, and the pixels in the middle cannot.
    damaged = tmp_path / 'damaged.tif'
    tifffile.imwrite(damaged, np.zeros((200, 100, 3), np.uint8), photometric='rgb', compression='zlib', rowsperstrip=50)
    with tifffile.TiffFile(damaged) as file:
        place, n_bytes = file.pages[0].dataoffsets[2], file.pages[0].databytecounts[2]
    content = bytearray(damaged.read_bytes())
    content[place:place + n_bytes] = b'!' * n_bytes
    damaged.write_bytes(content)
    compared = []

    def choose(model, is_wanted, samples):
        assert model is job.predictor.model and is_wanted is None
        compared.extend(sample() for sample in samples)
        return Precision(torch.bfloat16, 'because')
    monkeypatch.setattr(precision, 'choose_precision', choose)
    paths = [tmp_path / 'broken.tif', damaged, large, small, tmp_path / 'no.tif']
    changed, chosen = precision.with_precision(job, None, paths)
    assert [cells.bboxes_xyxy.tolist() for cells in compared] == [[[12, 20, 22, 30]], [[0, 0, 3, 3]]]
    assert (compared[0].masks.height, compared[0].masks.width) == (40, 64)
    assert chosen.dtype == torch.bfloat16 and changed.settings == {'tta': False, 'precision': 'bfloat16'}


@pytest.mark.parametrize(('rescales', 'shown'), [(True, (128, 128)), (False, (64, 64))])
def test_cells_are_compared_at_the_scale_at_which_images_are_predicted(job, tmp_path, monkeypatch, rescales, shown):
    image = write_image(tmp_path / 'coarse.tif', (20, 90, 10, 255), shape=(80, 200))
    job.predictor.mpp = .25
    job = replace(job, mpp=.5, rescales=rescales)
    monkeypatch.setattr(precision, 'choose_precision', lambda model, is_wanted, samples: (
        compared.extend(sample() for sample in samples), Precision(None, 'because'))[1])
    forward, shapes, compared = BrightCellDetector.forward, [], []
    monkeypatch.setattr(BrightCellDetector, 'forward', lambda self, inputs, *args, **kwargs: (
        shapes.append(tuple(inputs.shape[2:])), forward(self, inputs, *args, **kwargs))[1])
    precision.with_precision(job, None, [image])
    assert shapes == [shown]
    # The tile begins at the column 68 and the row 8; cells are in px of the image.
    assert [cells.bboxes_xyxy.tolist() for cells in compared] == [[[22, 12, 32, 22]]]
    shapes.clear()
    precision.with_precision(replace(job, mpp=5.), None, [image])
    assert len(shapes) == (not rescales)  # a factor of 20 is refused when the image has its turn


@pytest.mark.parametrize('is_wanted', [False, None])
def test_outputs_in_float32_have_the_record_of_earlier_releases(job, is_wanted):
    changed, chosen = precision.with_precision(job, is_wanted, [])
    assert chosen.dtype is None and changed.settings == job.settings
