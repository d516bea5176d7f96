"""Models in the memory format channels-last: the same losses, gradients, predictions and checkpoints."""

import copy
import io

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from support.narrow_detector import build_narrow_detector
from support.paths import REPO
from support.synthetic_data import discs
from torch import nn

from mmcell.framework.console import ConsoleRunner
from mmcell.inference.detector import load_detector
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.masks.label_map_masks import LabelMapMasks

CHANNELS_LAST = torch.channels_last
# Relative to the greatest value. Sums are made in another order.
TOLERANCE = 1e-4
IMAGE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


@pytest.fixture(scope='module', params=['mask-rcnn_r18_demo', 'cascade-mask-rcnn_r50'])
def detectors(request):
    """A detector, and its copy in the other memory format."""
    detector = build_narrow_detector(request.param)
    return detector, copy.deepcopy(detector).to(memory_format=CHANNELS_LAST)


def assert_near(value, expected):
    assert (value - expected).abs().max() <= TOLERANCE * expected.abs().max()


def losses_of(detector):
    masks = LabelMapMasks.from_label_maps([discs((96, 96), [(1, 20, 20, 9), (2, 50, 30, 12), (3, 70, 80, 10)])])
    sample = DetDataSample(metainfo=dict(img_id=1, img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1., 1.)))
    sample.gt_instances = InstanceData(masks=masks, labels=torch.arange(3), bboxes=masks.get_bboxes('hbox').tensor)
    torch.manual_seed(0)
    data = detector.data_preprocessor(
        dict(inputs=[torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())], data_samples=[sample]), training=True)
    return detector.parse_losses(detector.forward(**data, mode='loss'))


def test_losses_and_gradients(detectors):
    (expected, expected_parts), (total, parts) = map(losses_of, detectors)
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(
        {name: value.item() for name, value in expected_parts.items()}, rel=TOLERANCE)
    gradients, expected_gradients = (
        torch.autograd.grad(loss, [p for p in detector.parameters() if p.requires_grad], allow_unused=True)
        for loss, detector in zip((total, expected), detectors[::-1], strict=True))
    pairs = [(ours, theirs) for ours, theirs in zip(gradients, expected_gradients, strict=True) if theirs is not None]
    assert len(pairs) > 40
    for ours, theirs in pairs:
        assert (ours - theirs).abs().max() <= 10 * TOLERANCE * theirs.abs().max() + 1e-6


def test_predictions(detectors):
    expected, cells = (Predictor(detector).predict(IMAGE, PredictionPlan('whole')).cells for detector in detectors)
    assert len(cells) == len(expected) > 10 and np.array_equal(cells.labels, expected.labels)
    assert np.allclose(cells.scores, expected.scores, atol=TOLERANCE)
    assert np.allclose(cells.bboxes_xyxy, expected.bboxes_xyxy, atol=.01)
    assert np.abs(cells.masks.areas_px - expected.masks.areas_px).max() <= 2


def test_features_stay_in_the_format(detectors):
    _, detector = detectors
    with torch.no_grad():
        features = detector.extract_feat(torch.randn(1, 3, 96, 96))
    assert all(level.is_contiguous(memory_format=CHANNELS_LAST) for level in features)


def test_checkpoints_fit_both_formats(detectors):
    contiguous, ours = detectors
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = copy.deepcopy(contiguous)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(state)
    for name, value in contiguous.state_dict().items():
        assert value.equal(state[name]) and value.equal(other.state_dict()[name])
        assert other.state_dict()[name].stride() == value.stride()


@pytest.mark.parametrize('settings', [
    dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]), out_indices=[0, 1, 2, 3],
         gap_before_final_norm=False),
    dict(type='CBAMResNet', depth=18, stem_channels=8, base_channels=8, cbam=dict(reduction=4), norm_eval=True),
    dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type='GN', num_groups=4)),
], ids=['ConvNeXt', 'CBAMResNet', 'GroupNorm'])
def test_backbones_whose_layers_leave_the_format(settings):
    torch.manual_seed(0)
    expected = MODELS.build(settings)
    expected.eval()  # returns None in MMDetection's ResNet
    ours = copy.deepcopy(expected).to(memory_format=CHANNELS_LAST)
    image = torch.randn(2, 3, 64, 96)
    outputs = [backbone(image) for backbone in (expected, ours)]
    for value, reference in zip(outputs[1], outputs[0], strict=True):
        assert_near(value, reference)
    # The sum of squares would not do: after LayerNorm it is constant.
    gradients = [torch.autograd.grad(
        sum((level * torch.linspace(-1, 1, level.numel()).view(level.shape)).sum() for level in levels),
        next(parameter for parameter in backbone.parameters() if parameter.requires_grad))[0]
        for levels, backbone in zip(outputs, (expected, ours), strict=True)]
    assert gradients[0].any()
    assert_near(gradients[1], gradients[0])


@pytest.mark.parametrize('devices, is_channels_last', [
    (['cpu'], True), (['cuda'], False), ([], False), (None, False), ('no env_cfg', False)])
def test_the_config_lists_devices(monkeypatch, devices, is_channels_last):
    monkeypatch.setattr('mmcell.framework.console.get_device', lambda: 'cpu')
    monkeypatch.setattr('mmengine.runner.runner.get_device', lambda: 'cpu')
    # The method uses these attributes of a runner, and no other.
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner.cfg = Config({} if devices == 'no env_cfg' else dict(env_cfg=dict(channels_last=devices)))
    runner._distributed, runner.logger = False, MMLogger.get_current_instance()
    model = runner.wrap_model(None, nn.Sequential(nn.Conv2d(3, 4, 3)))
    assert model[0].weight.is_contiguous(memory_format=CHANNELS_LAST) == is_channels_last


def test_the_configs_of_the_project_use_it_where_it_was_measured():
    assert Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50.py').env_cfg.channels_last == ['cpu']


def test_loaded_detectors(tmp_path, detectors):
    contiguous, _ = detectors
    path = tmp_path / 'narrow.pth'
    torch.save(dict(state_dict=contiguous.state_dict(), meta=dict(
        cfg=contiguous.cfg.pretty_text, dataset_meta=contiguous.dataset_meta)), path)
    loaded = load_detector(path)
    assert all(weight.is_contiguous(memory_format=CHANNELS_LAST) for weight in loaded.parameters() if weight.ndim == 4)
    assert all(value.equal(contiguous.state_dict()[name]) for name, value in loaded.state_dict().items())
