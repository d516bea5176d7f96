"""CellRoIExtractor compared with the stock RoI extractor."""

import pytest
import torch
from mmdet.registry import MODELS

ARGUMENTS = dict(roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0), out_channels=5,
                 featmap_strides=[4, 8, 16, 32])


def rois(n):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(n, 2, generator=generator) * 100
    sides = 2 ** (torch.rand(n, 2, generator=generator) * 7)
    return torch.cat([torch.arange(n)[:, None] % 2, corners, corners + sides], dim=1)


@pytest.mark.parametrize('n', [0, 3, 128, 300])
@pytest.mark.parametrize('roi_scale_factor', [None, 1.5])
def test_the_same_features_as_the_stock_extractor(n, roi_scale_factor):
    kinds = 'CellRoIExtractor', 'SingleRoIExtractor'
    ours, stock = (MODELS.build(dict(type=kind, **ARGUMENTS)).eval() for kind in kinds)
    levels = [torch.randn(2, 5, 128 // stride, 160 // stride) for stride in ARGUMENTS['featmap_strides']]
    with torch.no_grad():
        features = ours(levels, rois(n), roi_scale_factor)
        assert features.shape == (n, 5, 7, 7) and features.equal(stock(levels, rois(n), roi_scale_factor))


def test_gradients_equal_those_of_the_stock_extractor():
    gradients = []
    for kind in ('CellRoIExtractor', 'SingleRoIExtractor'):
        levels = [torch.ones(2, 5, 128 // stride, 160 // stride, requires_grad=True)
                  for stride in ARGUMENTS['featmap_strides']]
        MODELS.build(dict(type=kind, **ARGUMENTS))(levels, rois(300)).sum().backward()
        gradients.append([level.grad for level in levels])
    assert gradients[0][0].any()
    assert all(ours.equal(stock) for ours, stock in zip(*gradients, strict=True))


def test_boxes_are_not_rounded_in_mixed_precision():
    """In bfloat16 a box from 517 to 523 px would become a box from 516 to 524 px."""
    ours = MODELS.build(dict(type='CellRoIExtractor', **ARGUMENTS))
    levels = [torch.randn(1, 5, 8, 640 // stride).bfloat16() for stride in ARGUMENTS['featmap_strides']]
    box = torch.tensor([[0, 517, 3, 523, 9.]])
    features = ours(levels, box)
    assert features.equal(ours([level.float() for level in levels], box)) and features.dtype == torch.float32
    assert not features.equal(ours([level.float() for level in levels], box.bfloat16().float()))
