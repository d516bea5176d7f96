"""Every model of a config can be built, trained for one step with its own optimizer on tiny images, and predict."""

import functools
import json
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from support.configs import EXPERIMENTS, load
from support.paths import REPO
from support.synthetic_data import discs

from mmcell.hooks.budget import count_parameters
from mmcell.masks.label_map_masks import LabelMapMasks

SIDE = 96
# One config of each kind of model; the slow tests try all of them.
OF_EACH_KIND = {'cell/mask-rcnn_r18_demo', 'cell/cascade-mask-rcnn_convnextv2-base', 'cell/mask-rcnn_r50_fpn-bn_cbam',
                'cell/mask-rcnn_r50_tv-v2', 'cell/mask-rcnn_r101_small-anchors', 'cell/mask-rcnn_convnext_tv',
                'voc/mask-rcnn_x101-32x8d', 'voc/yolact_r50'}


@pytest.mark.slow
@pytest.mark.parametrize('name', EXPERIMENTS)
def test_one_step_and_one_prediction(name):
    cfg = load(name)
    shrink(cfg.model)
    step_and_predict(json.dumps(cfg.model.to_dict()), json.dumps(cfg.optim_wrapper.to_dict()))


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name in OF_EACH_KIND else pytest.mark.slow) for name in EXPERIMENTS])
def test_one_step_and_one_prediction_with_few_weights(name):
    cfg = load(name)
    shrink(cfg.model)
    lighten(cfg.model)
    # On a CPU without instructions for bfloat16, mixed precision is ten times slower.
    if cfg.optim_wrapper.type == 'MixedPrecisionOptimWrapper':
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype', None)
    step_and_predict(json.dumps(cfg.model.to_dict()), json.dumps(cfg.optim_wrapper.to_dict()))


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_the_table_has_the_trainable_parameters(name):
    model = load(name).model
    model.backbone.init_cfg = None
    # Nothing is allocated on the device meta. Only linspace stays on the CPU, because ConvNeXt reads its numbers.
    with torch.device('meta'), mock.patch('torch.linspace', functools.partial(torch.linspace, device='cpu')):
        trainable, _ = count_parameters(MODELS.build(model))
    row, = (row for row in (REPO / 'configs' / 'README.md').read_text().splitlines()
            if row.startswith(f'| `{name}.py` |'))
    assert row.split('|')[3].strip() == f'{trainable / 1e6:.1f} M'


def shrink(model):
    """Sets random weights with which every tensor gets a gradient, and few boxes, because boxes take the most time."""
    model.backbone.init_cfg = None
    if 'ResN' in model.backbone.type:
        # Otherwise blocks or gates start as 0, and no gradient passes them.
        model.backbone.zero_init_residual = False
        model.backbone.get('cbam', {}).pop('initial_gate', None)
    if 'drop_path_rate' in model.backbone:
        model.backbone.drop_path_rate = 0.
    # Some experiments pad images to 1024 px, which would be slow.
    model.data_preprocessor.pad_size_divisor = 32
    model.test_cfg.get('rcnn', model.test_cfg).update(max_per_img=5, score_thr=0.)
    # All anchors take part in the loss. Otherwise those of some levels may not be sampled, and get no gradient.
    if model.type == 'YOLACT':
        model.train_cfg.neg_pos_ratio = 10**6
        return
    model.train_cfg.rpn.sampler.num, model.train_cfg.rpn.allowed_border = 10**6, -1
    model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 100
    model.test_cfg.rpn.nms_pre = 1000
    for stage in model.train_cfg.rcnn if isinstance(model.train_cfg.rcnn, list) else [model.train_cfg.rcnn]:
        stage.sampler.num = 16


def lighten(model):
    """The smallest backbone of the same class, and narrow fully connected layers, which hold most weights."""
    if model.backbone.type.endswith('ConvNeXt'):
        model.backbone.arch, model.neck.in_channels = 'atto', [40, 80, 160, 320]
    elif 'ResNeXt' in model.backbone.type:
        model.backbone.update(depth=50, groups=4, base_width=4)
    else:
        narrowing = {50: 4, 101: 4}.get(model.backbone.depth, 1)
        model.backbone.depth = 18
        model.neck.in_channels = [channels // narrowing for channels in model.neck.in_channels]
    heads = model.roi_head.bbox_head if 'roi_head' in model else []
    for head in heads if isinstance(heads, list) else [heads]:
        head.fc_out_channels = 64


@functools.cache
def step_and_predict(model_json, optimizer_json):
    """Trains a model for one step and predicts; cached for experiments that differ only in data or detections."""
    torch.manual_seed(0)
    cfg = ConfigDict(json.loads(model_json))
    model = MODELS.build(cfg)
    model.init_weights()
    model.train()
    n_classes = cfg.get('roi_head', cfg).mask_head.num_classes
    inputs, data_sample = sample(n_classes)
    wrapper = build_optim_wrapper(model, ConfigDict(json.loads(optimizer_json)))
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(
            dict(inputs=[inputs] * 2, data_samples=[data_sample] * 2), training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    wrapper.backward(total)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert [name for name, p in trainable.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in trainable.items() if not p.grad.any()] == []
    before = {name: p.detach().clone() for name, p in trainable.items()}
    wrapper.step()
    assert [name for name, p in trainable.items() if p.equal(before[name])] == []
    model.eval()
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(dict(inputs=[inputs], data_samples=[data_sample])),
                          mode='predict')[0].pred_instances
    assert len(predicted.masks) == len(predicted.labels) <= 5
    assert set(predicted.labels.tolist()) <= set(range(n_classes))
    assert {tuple(mask['size'] if isinstance(mask, dict) else mask.shape) for mask in predicted.masks} <= {(SIDE, SIDE)}


def sample(n_classes):
    label_map = discs((SIDE, SIDE), [(i + 1, 16 + 30 * (i // 3), 16 + 30 * (i % 3), 10) for i in range(9)])
    masks = LabelMapMasks.from_label_maps([label_map])
    data_sample = DetDataSample(metainfo=dict(
        img_id=1, img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1., 1.)))
    data_sample.gt_instances = InstanceData(
        masks=masks, labels=torch.arange(9) % n_classes, bboxes=masks.get_bboxes('hbox').tensor)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE), np.uint8)), data_sample
