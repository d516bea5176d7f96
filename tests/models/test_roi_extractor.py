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
        assert features.shape == (n, 5, 7, 7)
        torch.testing.assert_close(features, stock(levels, rois(n), roi_scale_factor))


def test_boxes_that_belong_to_no_level_have_the_features_0():
    boxes = torch.tensor([[0, 3, 3, torch.nan, 40], [0, 60, 3, 8, 40], [0, 3, 3, 60, 40]])
    ours, stock = (MODELS.build(dict(type=kind, **ARGUMENTS)) for kind in ('CellRoIExtractor', 'SingleRoIExtractor'))
    levels = [torch.randn(2, 5, 128 // stride, 160 // stride) for stride in ARGUMENTS['featmap_strides']]
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        features = ours(levels, boxes)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(features, stock(levels, boxes))
    assert features.flatten(1).any(dim=1).tolist() == [False, False, True]


def test_gradients_equal_those_of_the_stock_extractor():
    gradients = []
    for kind in ('CellRoIExtractor', 'SingleRoIExtractor'):
        levels = [torch.ones(2, 5, 128 // stride, 160 // stride, requires_grad=True)
                  for stride in ARGUMENTS['featmap_strides']]
        MODELS.build(dict(type=kind, **ARGUMENTS))(levels, rois(300)).sum().backward()
        gradients.append([level.grad for level in levels])
    assert gradients[0][0].any()
    for ours, stock in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, stock, atol=1e-3, rtol=1e-5)  # sums of thousands of values


def test_bfloat16_is_computed_in_float32_and_rounded_once():
    ours = MODELS.build(dict(type='CellRoIExtractor', **ARGUMENTS))
    levels = [torch.randn(2, 5, 128 // stride, 160 // stride).bfloat16() for stride in ARGUMENTS['featmap_strides']]
    features = ours(levels, rois(30))
    assert features.dtype == torch.bfloat16
    # The boxes are not rounded: from 517 to 523 px would become from 516 to 524 px.
    in_float32 = [level.float() for level in levels]
    assert features.equal(ours(in_float32, rois(30)).bfloat16())
    assert not features.equal(ours(in_float32, rois(30).bfloat16().float()).bfloat16())


def test_other_layers_than_averages_are_those_of_the_stock_extractor():
    arguments = {**ARGUMENTS, 'roi_layer': dict(type='RoIAlign', output_size=7, pool_mode='max')}
    ours = MODELS.build(dict(type='CellRoIExtractor', **arguments))
    levels = [torch.randn(2, 5, 128 // stride, 160 // stride) for stride in ARGUMENTS['featmap_strides']]
    with pytest.raises(RuntimeError, match="pool_mode='max'"):
        ours(levels, rois(3))
