"""Prediction in mixed precision: which parts compute in bfloat16, and what decides whether they do."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.registry import MODELS
from mmengine.config import Config
from support.narrow_detector import build_narrow_detector
from support.paths import REPO
from torch import nn

from mmcell.cells.cells import Cells
from mmcell.errors import MmcellError
from mmcell.framework.mixed_precision import SLOW_BFLOAT16
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.runs import MaskRuns
from mmcell.models import mask_head, precision
from mmcell.models.precision import choose_precision, network_parts, set_precision

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture(scope='module', params=['mask-rcnn_r18_demo', 'cascade-mask-rcnn_r50'])
def detector(request):
    return build_narrow_detector(request.param)


@pytest.fixture(autouse=True)
def in_float32_afterwards(request):
    yield
    if 'detector' in request.fixturenames:
        set_precision(request.getfixturevalue('detector'), None)


def predict(detector, **views):
    return Predictor(detector, **views).predict(PIXELS, PredictionPlan('whole')).cells


def assert_equal(cells, others):
    assert len(cells) and cells.masks.to_rles() == others.masks.to_rles()
    for name in ('bboxes_xyxy', 'scores', 'labels'):
        assert np.array_equal(getattr(cells, name), getattr(others, name))


def test_only_layers_compute_in_16_bits(detector, monkeypatch):
    seen = []

    def watch(owner, name):
        function = getattr(owner, name)

        def watched(*args, **kwargs):
            types = {arg.dtype for arg in args if isinstance(arg, torch.Tensor) and arg.is_floating_point()}
            seen.append((name, types, torch.is_autocast_enabled('cpu')))
            return function(*args, **kwargs)
        monkeypatch.setattr(owner, name, watched)

    watch(DeltaXYWHBBoxCoder, 'decode')
    watch(mask_head, 'paste_masks')
    watch(torch.ops.torchvision, 'nms')
    watch(mask_head, 'roi_align')
    layers = {}
    handles = [layer.register_forward_hook(lambda layer, _, output: layers.update({layer: output.dtype}))
               for layer in detector.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d)]
    set_precision(detector, torch.bfloat16)
    assert len(predict(detector))
    for handle in handles:
        handle.remove()
    assert {name for name, _, _ in seen} == {'decode', 'paste_masks', 'nms', 'roi_align'}
    assert all(types == {torch.float32} and not is_autocast for _, types, is_autocast in seen)
    assert len(layers) == len(handles) and set(layers.values()) == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in detector.parameters())


def test_predictions_are_near_those_in_float32(detector):
    expected, expected_views = predict(detector), predict(detector, with_views=True)
    set_precision(detector, torch.bfloat16)
    for cells, in_float32 in ((predict(detector), expected), (predict(detector, with_views=True), expected_views)):
        assert not np.array_equal(cells.scores, in_float32.scores)
        # bfloat16 has 8 binary digits. Random weights make the order of detections depend on the last of them, so that
        # only the distribution of the scores is compared here.
        assert np.allclose(np.sort(cells.scores)[-20:], np.sort(in_float32.scores)[-20:], atol=.03)
    set_precision(detector, None)
    assert_equal(predict(detector), expected)
    assert not any('forward' in vars(module) for module in detector.modules())


def test_each_part_gives_what_autocast_gives_as_float32(detector):
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = detector.extract_feat(image)
        with torch.autocast('cpu', torch.bfloat16):
            features = detector.backbone(image)
        set_precision(detector, torch.bfloat16)
        set_precision(detector, torch.bfloat16)  # once more changes nothing
        ours = detector.backbone(image)
        assert all(o.dtype == torch.float32 and o.equal(f.float()) for o, f in zip(ours, features, strict=True))
        for level, in_float32 in zip(detector.extract_feat(image), expected, strict=True):
            assert (level - in_float32).abs().max() < .03 * in_float32.abs().max()


def test_a_copy_computes_with_its_own_weights(detector):
    set_precision(detector, torch.bfloat16)
    changed, image = copy.deepcopy(detector), torch.randn(1, 3, 64, 96)
    set_precision(detector, None)
    for parameter in changed.backbone.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        assert not any(level.any() for level in changed.backbone(image))
        assert all(level.any() for level in detector.backbone(image))
        set_precision(changed, None)
        assert not any(level.any() for level in changed.backbone(image))


@pytest.mark.parametrize('name, expected', [
    ('cell/mask-rcnn_r50', ['ResNet', 'FPN', 'RPNHead', 'CellBBoxHead', 'CellMaskHead']),
    ('cell/mask-rcnn_convnext', ['ConvNeXt', 'FPN', 'RPNHead', 'CellBBoxHead', 'CellMaskHead']),
    ('voc/yolact_r50', ['ResNet', 'FPN', 'YOLACTHead', 'Sequential']),
])
def test_the_parts_of_the_configs(name, expected):
    config = Config.fromfile(REPO / 'configs' / f'{name}.py').model
    if 'convnext' in name:  # it needs values when it is built
        config.backbone.arch = dict(depths=[1] * 4, channels=[8, 16, 32, 64])
    with torch.device('cpu' if 'convnext' in name else 'meta'):
        parts = network_parts(MODELS.build(config))
    assert [type(part).__name__ for part in parts] == expected


def cells_at(*columns):
    label_maps = np.zeros((len(columns), 10, 1000), bool)
    for mask, x in zip(label_maps, columns, strict=True):
        mask[:, x:x + 8] = True
    n = len(columns)
    return Cells(MaskRuns.from_rles(masks_to_rles(label_maps), 10, 1000), np.zeros((n, 4), np.float32),
                 np.ones(n, np.float32), np.zeros(n, np.int64))


@pytest.fixture(scope='module')
def layer():
    """The smallest model that has a part with a precision."""
    config = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50.py').model
    return MODELS.build(dict(type='Shared2FCBBoxHead', in_channels=1, fc_out_channels=1, roi_feat_size=1, num_classes=1,
                             bbox_coder=config.roi_head.bbox_head.bbox_coder))


def choose(layer, monkeypatch, in_float32, in_bfloat16, n_samples=1):
    """Chooses automatically, with a detector whose cells are those given; returns the choice and the calls."""
    monkeypatch.setattr(precision, 'has_fast_bfloat16', lambda: True)
    calls = []

    def sample():
        calls.append('forward' in vars(layer))
        return cells_at(*(in_bfloat16 if calls[-1] else in_float32))
    chosen = choose_precision(layer, None, [sample] * n_samples)
    assert ('forward' in vars(layer)) == (chosen.dtype is not None)
    set_precision(layer, None)
    return chosen, calls


@pytest.mark.parametrize('n_shifted, shift_px, is_on', [(0, 0, True), (2, 8, True), (3, 8, False), (40, 1, False)])
def test_the_cells_decide(layer, monkeypatch, n_shifted, shift_px, is_on):
    """Of 40 cells, 8 px wide, some are shifted: by 8 px they are other cells, by 1 px their IoU is 7/9."""
    columns = list(range(0, 800, 20))
    shifted = [x + shift_px if i < n_shifted else x for i, x in enumerate(columns)]
    chosen, calls = choose(layer, monkeypatch, columns, shifted)
    assert chosen.dtype == (torch.bfloat16 if is_on else None) and calls == [False, True]
    assert '40 cells in the first images' in chosen.reason and ('--no-amp' in chosen.reason) == is_on
    assert chosen.describe().startswith('mixed precision: on (bfloat16), ' if is_on else 'mixed precision: off, ')


def test_images_are_compared_until_there_are_enough_cells(layer, monkeypatch):
    for n_cells, n_images in ((20, 1), (19, 2), (5, 4)):
        columns = range(0, 20 * n_cells, 20)
        chosen, calls = choose(layer, monkeypatch, columns, columns, n_samples=9)
        assert chosen.dtype == torch.bfloat16 and len(calls) == 2 * n_images
    chosen, calls = choose(layer, monkeypatch, [0, 20, 40], [0, 20, 40], n_samples=9)
    assert chosen.dtype is None and len(calls) == 2 * precision.MAX_SAMPLES and 'only 15 cells' in chosen.reason
    assert 'only 0 cells' in choose(layer, monkeypatch, [], [], n_samples=0)[0].reason


def test_without_instructions_for_bfloat16_no_image_is_predicted(layer, monkeypatch):
    monkeypatch.setattr(precision, 'has_fast_bfloat16', lambda: False)
    chosen = choose_precision(layer, None, [lambda: pytest.fail('predicted')])
    assert (chosen.dtype, chosen.name) == (None, 'float32') and 'neither AVX-512 BF16 nor AMX' in chosen.reason


@pytest.mark.parametrize('is_wanted, is_fast, line', [
    (True, True, 'mixed precision: on (bfloat16), because of --amp'),
    (True, False, f'mixed precision: on (bfloat16), because of --amp; {SLOW_BFLOAT16}'),
    (False, True, 'mixed precision: off, because of --no-amp')])
def test_the_user_decides(layer, monkeypatch, is_wanted, is_fast, line):
    monkeypatch.setattr(precision, 'has_fast_bfloat16', lambda: is_fast)
    chosen = choose_precision(layer, is_wanted, [lambda: pytest.fail('predicted')])
    assert chosen.describe() == line and ('forward' in vars(layer)) == is_wanted
    set_precision(layer, None)


def test_models_and_devices_without_mixed_precision(monkeypatch):
    with pytest.raises(MmcellError, match='Linear has no backbone, neck or head'):
        choose_precision(nn.Linear(1, 1), True)
    with pytest.raises(MmcellError, match='only on cpu and cuda, but the device is meta'):
        choose_precision(nn.Linear(1, 1, device='meta'), True)
    assert 'only for CPUs' in choose_precision(nn.Linear(1, 1, device='meta'), None).reason
    monkeypatch.setattr(precision, 'has_fast_bfloat16', lambda: True)
    assert 'Linear has no part' in choose_precision(nn.Linear(1, 1), None).reason
    assert choose_precision(nn.Linear(1, 1), False).dtype is None
