"""BatchNorm that is folded into convolutions: the same outputs, from fewer layers."""

import copy

import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from support.narrow_detector import build_narrow_detector
from torch import nn

from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.models.folding import fold_batch_norm
from mmcell.models.winograd import WinogradConv2d, use_winograd

TOLERANCE = 1e-5


def train_statistics(model):
    """Gives every BatchNorm other statistics and factors than it starts with."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + .5)
    model.eval()
    return model


def count_norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(('settings', 'n_folded', 'n_left'), [
    (dict(type='ResNet', depth=18, stem_channels=8, base_channels=8), 20, 0),
    (dict(type='ResNet', depth=50, stem_channels=8, base_channels=8, deep_stem=True, avg_down=True), 55, 0),
    (dict(type='CBAMResNet', depth=18, stem_channels=8, base_channels=8, cbam=dict(reduction=4)), 20, 0),
    # Weights of these convolutions are standardised in each call.
    (dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, conv_cfg=dict(type='ConvWS')), 0, 20),
])
def test_backbones(settings, n_folded, n_left):
    torch.manual_seed(0)
    model = train_statistics(MODELS.build(settings))
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(image)
        assert fold_batch_norm(model) == n_folded and count_norms(model) == n_left and fold_batch_norm(model) == 0
        for level, reference in zip(model(image), expected, strict=True):
            assert (level - reference).abs().max() <= TOLERANCE * reference.abs().max()


def test_modules_that_call_their_layers_in_another_order_or_are_trained_are_left_alone():
    first_norm = ConvModule(4, 4, 3, norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act')).eval()
    shared = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)]).eval()
    in_training = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).train()
    apart = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    for model in (first_norm, shared, in_training, apart):
        assert fold_batch_norm(model) == 0 and count_norms(model) == 1
    module = train_statistics(ConvModule(4, 4, 3, norm_cfg=dict(type='BN')))
    features = torch.randn(1, 4, 9, 9)
    expected = module(features)
    assert fold_batch_norm(module) == 1 and torch.allclose(module(features), expected, atol=TOLERANCE)


def test_winograd_and_the_memory_format_are_kept():
    model = train_statistics(nn.Sequential(nn.Conv2d(128, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128)))
    image = torch.randn(1, 128, 50, 50)
    with torch.no_grad():
        expected = model(image)
        use_winograd(model.to(memory_format=torch.channels_last))
        assert fold_batch_norm(model) == 1
        assert (model(image) - expected).abs().max() <= 3 * TOLERANCE * expected.abs().max()
    assert type(model[0]) is WinogradConv2d and model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_predictions():
    detector = build_narrow_detector('mask-rcnn_r18_demo')
    train_statistics(detector)
    folded = copy.deepcopy(detector)
    assert fold_batch_norm(folded) == 20 and count_norms(detector) == 20
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    expected, cells = (Predictor(model).predict(image, PredictionPlan('whole')).cells for model in (detector, folded))
    assert len(cells) == len(expected) > 10 and np.array_equal(cells.labels, expected.labels)
    assert np.allclose(cells.scores, expected.scores, atol=1e-4)
    assert np.allclose(cells.bboxes_xyxy, expected.bboxes_xyxy, atol=.01)
