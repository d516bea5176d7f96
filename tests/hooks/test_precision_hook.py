"""The precision of a test is chosen when its model is ready, from the cells of the first test images."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from support.narrow_detector import build_narrow_detector

from mmcell.hooks import precision
from mmcell.models.precision import Precision, set_precision


@pytest.fixture(scope='module')
def model():
    return build_narrow_detector('mask-rcnn_r18_demo')


@pytest.fixture
def runner(model):
    meta = dict(img_id=1, ori_shape=(64, 96), img_shape=(64, 96), scale_factor=(1., 1.))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 96), np.uint8))
    samples = [dict(inputs=pixels, data_samples=DetDataSample(metainfo=meta))] * 2
    return SimpleNamespace(model=model, logger=logging.getLogger('test'),
                           test_dataloader=SimpleNamespace(dataset=samples))


def test_cells_with_a_score_of_at_least_half_are_compared(model, runner, monkeypatch, caplog):
    compared = []

    def choose(chosen_model, is_wanted, samples):
        assert chosen_model is model and not model.training and is_wanted is None
        compared.extend(sample() for sample in samples)
        set_precision(model, torch.bfloat16)
        return Precision(torch.bfloat16, 'because')
    monkeypatch.setattr(precision, 'choose_precision', choose)
    hook = HOOKS.build(dict(type='PrecisionHook'))
    model.train()
    with caplog.at_level(logging.INFO):
        hook.before_test_epoch(runner)
    assert len(compared) == 2 and len(compared[0]) == len(compared[1]) > 0
    assert all(cells.scores.min() >= .5 and cells.masks.areas_px.min() > 0 for cells in compared)
    assert caplog.messages == ['mixed precision: on (bfloat16), because']
    hook.after_test_epoch(runner)
    assert not any('forward' in vars(module) for module in model.modules())


def test_the_command_line_decides(model, runner, caplog, monkeypatch):
    monkeypatch.setattr('mmcell.models.precision.has_fast_bfloat16', lambda: True)
    hook = precision.PrecisionHook(is_wanted=True)
    with caplog.at_level(logging.INFO):
        hook.before_test_epoch(runner)
    assert caplog.messages == ['mixed precision: on (bfloat16), because of --amp']
    assert 'forward' in vars(model.backbone)
    hook.after_test_epoch(runner)


def test_a_detector_without_masks_has_no_cells_to_compare(runner):
    sample = DetDataSample(metainfo=dict(ori_shape=(64, 96)), pred_instances=InstanceData(scores=torch.ones(1)))
    box_detector = SimpleNamespace(test_step=lambda data: [sample])
    assert len(precision._predict(box_detector, runner.test_dataloader.dataset[0])) == 0
