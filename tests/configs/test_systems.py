"""Each config sets what was published about its system. The published values are written out here again, by hand."""

import math
import re
from dataclasses import dataclass, field
from functools import partial

import pytest
from mmdet.registry import TASK_UTILS
from support.configs import EXPERIMENTS, load, path_of
from support.paths import REPO
from support.schedules import learning_rates

from mmcell.datasets.colors import describe_swapped_colors

BACKBONES = {'r18': 18, 'r50': 50, 'r101': 101, 'x101-32x8d': 101, 'convnext': 'tiny', 'convnext-small': 'small',
             'convnext-base': 'base', 'convnextv2-base': 'base'}
WARM_UP_AND_COSINE = {0: .01, 1 / 30: 1, .5: .5, 1: 0}
# Transforms between loading and packing.
CROP = dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True)
FILTER = dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False)
FLIPS = dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal'])
FLIP, TURN = dict(type='RandomFlip', prob=.5), dict(type='RandomRotate90')
CAP = dict(type='CapLongSide', max_side=1024)
SQUARE = dict(type='Resize', scale=(1024, 1024), keep_ratio=True)
ENLARGED = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
GREY = dict(type='RandomGrayscale', prob=.2, keep_channels=True, channel_weights=(.299, .587, .114),
            color_format='rgb')
BRIGHTNESS = dict(type='mmpretrain.ColorJitter', brightness=.3)
LOAD = dict(type='LoadTiff'), dict(type='LoadCellAnnotations')
PASTE = dict(type='CellCopyPaste', classes=['class3', 'class4'], max_num_pasted=10, max_covered=.2, places=20,
             edge_px=1.)
# Values of configs by their keys.
RESNET = {'model.backbone.type': 'ResNet', 'model.backbone.norm_eval': True}
CONVNEXT = {'model.backbone.type': 'mmpretrain.ConvNeXt', 'model.backbone.out_indices': [0, 1, 2, 3]}
ADAMW = {'optim_wrapper.type': 'OptimWrapper', 'optim_wrapper.clip_grad': dict(max_norm=10.)}


@dataclass(frozen=True)
class System:
    """What was published about a system.

    Attributes:
        reported: The reported values, as they are written.
        anchors: Sizes of the anchors of each level in px.
        ratios: Shapes of the anchors, height / width.
        detections: The limit of detections per image.
        proposals: The limit of proposals per image.
        is_torchvision: Whether the model is torchvision's, with its rounded anchors and its RoIAlign.
        frozen: ``frozen_stages`` of the backbone; in a ResNet, -1 means that not even the stem is frozen.
        weights: How the location of the backbone's weights ends; None: no weights.
        optimizer: The arguments of the optimizer.
        n_images: Number of training images.
        batch: Images per step.
        steps: Steps of the whole training.
        rates: From the proportion of the training that has passed, to the learning rate as a proportion of ``lr``.
        train: Transforms of the training data between loading and packing; None: not compared here.
        test: Transforms of the validation and test data between loading and packing.
        n_classes: Number of classes.
        parts: From a key of the config with dots, to the value there.
    """

    reported: tuple = ()
    anchors: tuple = (16, 32, 64, 128, 256)
    ratios: tuple = (.5, 1., 2.)
    detections: int = 1000
    proposals: int = 2000
    is_torchvision: bool = False
    frozen: int = 1
    weights: str = 'torchvision://resnet50'
    optimizer: dict = field(default_factory=lambda: dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=.05))
    n_images: int = 167  # four fifths of the 209 images of the challenge
    batch: int = 2
    steps: int = 84 * 30
    rates: dict = field(default_factory=lambda: WARM_UP_AND_COSINE)
    train: tuple = (CROP, FILTER, FLIPS)
    test: tuple = ()
    n_classes: int = 4
    parts: dict = field(default_factory=lambda: {**RESNET, **ADAMW})


def convnext(weights, extra=(), **row):
    return System(frozen=0, weights=f'/{weights}.pth', parts={**CONVNEXT, **ADAMW, **dict(extra)}, **row)


V2 = {'model.backbone.use_grn': True, 'model.backbone.layer_scale_init_value': 0.}
CASCADE = {'model.roi_head.type': 'CellCascadeRoIHead'}
V2_WEIGHTS = 'convnext-v2/convnext-v2-base_fcmae-pre_3rdparty_in1k_20230104-00a70fa4'
TINY_WEIGHTS = 'convnext/downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634'
NORM = {'model.neck.norm_cfg': dict(type='BN')}
B1 = partial(
    System, anchors=(32, 64, 128, 256, 512), proposals=1000, is_torchvision=True, batch=1, steps=167 * 60,
    optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=5e-4),
    rates={0: .001, .125: .5, .25: 1, .625: .5, 1: 0}, train=(CAP, FILTER), test=(CAP,),
    parts={**RESNET, **NORM, 'optim_wrapper.type': 'OptimWrapper', 'optim_wrapper.clip_grad': None})
B3 = partial(B1, reported=('validation AP .2925', 'AP50 .4466', 'test AP50 .3892'))
CBAM = {**NORM, 'model.backbone.type': 'CBAMResNet', 'model.backbone.stages': (False, True, True, True),
        'model.backbone.cbam': dict(reduction=16, kernel_size=7, initial_gate=.99)}
TORCHVISION = partial(System, anchors=(32, 64, 128, 256, 512), detections=100, proposals=1000, is_torchvision=True,
                      train=(ENLARGED, FILTER), test=(ENLARGED,))
V2_RECIPE = {
    **NORM, 'model.backbone.norm_eval': False, 'model.rpn_head.num_convs': 2,
    'model.roi_head.bbox_head.type': 'Shared4Conv1FCBBoxHead', 'model.roi_head.bbox_head.norm_cfg': dict(type='BN'),
    'model.roi_head.mask_head.norm_cfg': dict(type='BN')}
CONVNEXT_TV = partial(TORCHVISION, frozen=0, weights=f'/{TINY_WEIGHTS}.pth',
                      parts={'model.backbone.type': 'PlainOutputConvNeXt', **ADAMW})
C1 = partial(TORCHVISION, weights=None, steps=84 * 100,
             optimizer=dict(type='SGD', lr=.005, momentum=.9, weight_decay=5e-4),
             parts={**V2_RECIPE, 'optim_wrapper.type': 'MixedPrecisionOptimWrapper',
                    'load_from': 'weights/mask-rcnn_r50_tv-v2_coco.pth'})
D1 = partial(
    System, anchors=(16, 32, 48, 64, 96), ratios=(.25, .5, .75, 1., 1.5, 2., 3., 4.),
    optimizer=dict(type='Adam', lr=5e-5), steps=84 * 150, rates={0: 1, .5: 1, 1: 1}, train=(SQUARE, FILTER),
    test=(SQUARE,), parts={**RESNET, 'model.data_preprocessor.pad_size_divisor': 1024})
VOC = partial(
    System, anchors=(32, 64, 128, 256, 512), detections=100, proposals=1000,
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=.1), steps=30000,
    rates={0: .001, 1 / 30: 1, 1: 1}, test=(ENLARGED,), n_classes=20,
    train=(dict(type='RandomChoiceResize', keep_ratio=True, scales=[
        (1333, short) for short in (640, 672, 704, 736, 768, 800)]), FLIP),
    parts={**RESNET, 'model.train_cfg.rcnn.sampler.num': 128, 'optim_wrapper.type': 'OptimWrapper',
           'default_hooks.logger.log_metric_by_epoch': False})
# A recipe of this project.
LIGHT = partial(
    System, anchors=(16, 32, 64, 128), proposals=1500, batch=1, steps=3000,
    optimizer=dict(type='AdamW', lr=8e-4, betas=(.9, .999), weight_decay=.05), rates={0: .01, 1 / 30: 1, .5: .5, 1: 0},
    train=(dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(.75, 1.33)), FILTER, FLIP, TURN,
           dict(type='StainJitter', alpha=.05, beta=.05)),
    parts={**RESNET, **ADAMW, 'model.backbone.num_stages': 3})
RESNEXT = {'model.backbone.type': 'ResNeXt', 'model.backbone.groups': 32, 'model.backbone.base_width': 8}

SYSTEMS = {
    'cell/mask-rcnn_r50': System(),
    'cell/mask-rcnn_r50_one-gpu': System(
        optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=.05, fused=True),
        parts={**RESNET, **ADAMW, 'optim_wrapper.type': 'MixedPrecisionOptimWrapper',
               'optim_wrapper.dtype': 'bfloat16', 'model.data_preprocessor.non_blocking': True,
               'train_dataloader.pin_memory': True}),
    'cell/mask-rcnn_r50_consep': System(n_images=22, steps=11 * 30),
    'cell/mask-rcnn_r50_mask-nms': System(detections=2000, parts={
        **RESNET, **ADAMW, 'model.test_cfg.rcnn.nms.iou_threshold': .7,
        'model.test_cfg.rcnn.mask_nms': dict(iou_threshold=.3)}),
    'cell/mask-rcnn_r50_class-balanced': System(parts={
        **RESNET, **ADAMW, 'train_dataloader.sampler': dict(type='ClassBalancedSampler', shuffle=True)}),
    'cell/mask-rcnn_r50_rare-paste': System(train=None, parts={
        **RESNET, **ADAMW, 'train_dataloader.dataset.dataset.pipeline': [*LOAD, CROP, FILTER],
        'train_dataloader.dataset.pipeline': [PASTE, FLIPS, dict(type='PackCellInputs')]}),
    'cell/mask-rcnn_r50_stain': System(
        train=(CROP, FILTER, FLIPS, dict(type='StainJitter', alpha=.05, beta=.05))),
    'cell/mask-rcnn_r50_light': LIGHT(),
    'cell/mask-rcnn_r50_light_consep': LIGHT(),
    'cell/mask-rcnn_r50_light_consep_enlarged': LIGHT(test=(dict(type='Resize', scale_factor=1.5),), train=(
        dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(1.125, 2.)), FILTER, FLIP, TURN,
        dict(type='StainJitter', alpha=.05, beta=.05))),
    'cell/mask-rcnn_r50_light_consep_rare-paste': LIGHT(
        test=(dict(type='Resize', scale_factor=1.5),), train=None, parts={
            **RESNET, **ADAMW, 'model.backbone.num_stages': 3, 'train_dataloader.dataset.dataset.pipeline': [
                *LOAD, dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(1.125, 2.)), FILTER],
            'train_dataloader.dataset.pipeline': [
                {**PASTE, 'classes': ['class1']}, FLIP, TURN, dict(type='StainJitter', alpha=.05, beta=.05),
                dict(type='PackCellInputs')]}),
    'cell/mask-rcnn_r50_light_nuclei': LIGHT(n_classes=1, train=(
        dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(.5, 2.)), FILTER, FLIP, TURN,
        dict(type='GammaJitter', max_gamma=2.), dict(type='DefocusBlur', prob=.2), dict(type='ImageNoise', prob=.2),
        dict(type='YOLOXHSVRandomAug', hue_delta=10, saturation_delta=40, value_delta=40))),
    'cell/cascade-mask-rcnn_r50_light': LIGHT(parts={**RESNET, **ADAMW, **CASCADE, 'model.type': 'CascadeRCNN'}),
    'cell/mask-rcnn_r18': System(weights='torchvision://resnet18'),
    'cell/mask-rcnn_r101': System(weights='torchvision://resnet101'),
    'cell/mask-rcnn_x101-32x8d': System(weights='torchvision://resnext101_32x8d', parts=RESNEXT),
    'cell/mask-rcnn_convnext': convnext(TINY_WEIGHTS),
    'cell/mask-rcnn_convnext-small': convnext('convnext/convnext-small_32xb128-noema_in1k_20221208-4a618995'),
    'cell/mask-rcnn_convnext-base': convnext('convnext/convnext-base_3rdparty_32xb128-noema_in1k_20220222-dba4f95f'),
    'cell/mask-rcnn_convnextv2-base': convnext(V2_WEIGHTS, V2),
    'cell/cascade-mask-rcnn_r50': System(parts={**RESNET, **CASCADE}),
    'cell/cascade-mask-rcnn_convnextv2-base': convnext(
        V2_WEIGHTS, {**V2, **CASCADE, 'model.backbone.with_cp': True, 'custom_hooks': [
            dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-3, gamma=100, priority='ABOVE_NORMAL'),
            dict(type='CellEarlyStoppingHook', monitor='AP50', rule='greater', patience=10, min_delta=0.)]},
        reported=('.6069', '.6394'), train=(
            dict(type='mmpretrain.ColorJitter', brightness=.2, contrast=.2, saturation=.1, hue=.02, backend='cv2'),
            dict(type='CellAffine', max_rotate_degree=0., max_translate_ratio=0., scaling_ratio_range=(.8, 1.25),
                 max_shear_degree=0.), CROP, FILTER, FLIP, TURN)),
    # A1: the network of A2
    'cell/mask-rcnn_convnext_tv_300-detections': CONVNEXT_TV(
        reported=('validation AP .362', 'test AP50 .4727', '.4810'), detections=300),
    # A2
    'cell/mask-rcnn_r50_tv-v1': TORCHVISION(reported=('test mAP .3799',)),
    'cell/mask-rcnn_r50_tv-v2_30e': TORCHVISION(
        reported=('test mAP .3128',), parts={**V2_RECIPE, **ADAMW, 'load_from': None}),
    'cell/mask-rcnn_convnext_tv': CONVNEXT_TV(reported=('test mAP .4123',)),
    'cell/mask-rcnn_r50_tv-v1_better': TORCHVISION(
        reported=('test mAP .3543',), anchors=(16, 32, 64, 128, 256), train=(
            ENLARGED, FILTER, FLIP, TURN, dict(type='mmpretrain.ColorJitter', brightness=.2, contrast=.2))),
    # A3
    **{f'cell/mask-rcnn_r50_tv-v1_{n}-detections': TORCHVISION(reported=(f'test mAP {value}',), detections=n)
       for n, value in {50: '.3341', 150: '.3852', 200: '.4059', 250: '.4408', 300: '.4397'}.items()},
    # B
    'cell/mask-rcnn_r50_fpn-bn': B1(reported=('validation AP .2899', 'AP50 .4394', 'test AP50 .3945')),
    'cell/mask-rcnn_r50_fpn-bn_color': B1(
        reported=('validation AP .2863', 'AP50 .4329', 'test AP50 .4499'), train=(CAP, FILTER, BRIGHTNESS, GREY)),
    'cell/mask-rcnn_r50_fpn-bn_cbam': B3(parts={**CBAM, 'model.backbone.after': None}),
    'cell/mask-rcnn_r50_fpn-bn_cbam-per-stage': B3(parts={**CBAM, 'model.backbone.after': 'stage'}),
    'cell/mask-rcnn_r50_fpn-bn_half-anchors': B1(anchors=(16, 32, 64, 128, 256)),
    # C
    'cell/mask-rcnn_r50_tv-v2': C1(
        reported=('.487',), rates={0: 1, .799: 1, .801: .1, .899: .1, .901: .01, 1: .01}),
    'cell/mask-rcnn_r50_tv-v2_1000-detections': C1(
        detections=1000, proposals=2000, rates={0: 1, .799: 1, .801: .1, .899: .1, .901: .01, 1: .01}),
    'cell/mask-rcnn_r50_tv-v2_constant-lr': C1(reported=('.5078',), rates={0: 1, .85: 1, 1: 1}),
    # D
    'cell/mask-rcnn_r101_small-anchors': D1(reported=('.357',), weights='torchvision://resnet101'),
    'cell/mask-rcnn_r18_small-anchors': D1(reported=('.335',), weights='torchvision://resnet18'),
    'cell/mask-rcnn_r50_small-anchors': D1(reported=('.334',)),
    'cell/mask-rcnn_r101_default-anchors': D1(
        reported=('.339',), weights='torchvision://resnet101', anchors=(32, 64, 128, 256, 512), ratios=(.5, 1., 2.)),
    # E
    'voc/mask-rcnn_r50': VOC(reported=('.47416',)),
    'voc/mask-rcnn_r50_bias-decay': VOC(
        reported=('.47416',), optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=1e-4)),
    'voc/mask-rcnn_r50_no-weight-decay': VOC(
        reported=('.42467',), optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=0.)),
    'voc/mask-rcnn_x101-32x8d': VOC(weights='open-mmlab://detectron2/resnext101_32x8d', parts={
        **RESNEXT, 'model.data_preprocessor.rgb_to_bgr': True}),
    # The training pipeline of YOLACT is compared with MMDetection's in test_voc_configs.py.
    'voc/yolact_r50': VOC(
        anchors=(24, 48, 96, 192, 384), proposals=100, frozen=-1, batch=8,
        optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4), train=None,
        test=(dict(type='Resize', scale=(550, 550), keep_ratio=False),), parts={}),
}
# Not a published system: the config of `make demo`.
OTHERS = {'cell/mask-rcnn_r18_demo'}


def test_every_config_has_a_system():
    assert set(EXPERIMENTS) == SYSTEMS.keys() | OTHERS


@pytest.fixture(params=SYSTEMS)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    return load(name)


def test_the_model_is_that_of_the_system(name, config):
    system, model = SYSTEMS[name], config.model
    head = model.get('rpn_head') or model.bbox_head
    generator = TASK_UTILS.build(head.anchor_generator)
    # The anchors of a level differ only in their shapes, so that all have the same area.
    sizes = [(anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt() for anchors in generator.base_anchors]
    for level_sizes, size in zip(sizes, system.anchors, strict=True):
        assert level_sizes.tolist() == pytest.approx([size] * len(system.ratios), rel=.02)
    # torchvision rounds corners of anchors to whole pixels, and its RoIAlign is not shifted by half a pixel.
    whole = all((anchors == anchors.round()).all() for anchors in generator.base_anchors)
    assert whole is system.is_torchvision
    for key in ('bbox_roi_extractor', 'mask_roi_extractor') if 'roi_head' in model else ():
        layer = model.roi_head[key].roi_layer
        expected = (False, 2) if system.is_torchvision else (True, 0)
        assert (layer.get('aligned', True), layer.sampling_ratio) == expected
    assert tuple(head.anchor_generator.ratios) == system.ratios
    test_cfg = model.test_cfg.get('rcnn', model.test_cfg)
    assert test_cfg.max_per_img == system.detections
    assert model.test_cfg.get('rpn', test_cfg).max_per_img == system.proposals >= system.detections
    assert model.backbone.get('frozen_stages', 0) == system.frozen
    backbone = name.split('/')[1].split('_')[1]
    assert model.backbone.get('depth', model.backbone.get('arch')) == BACKBONES[backbone]
    assert model.data_preprocessor.bgr_to_rgb is False
    roi_head = model.get('roi_head', model)
    box_heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]
    assert {part.num_classes for part in (*box_heads, roi_head.mask_head)} == {system.n_classes}


def test_the_parts_are_those_of_the_system(name, config):
    for path, expected in SYSTEMS[name].parts.items():
        part = config
        for key in path.split('.'):
            part = part.get(key)
        assert part == expected, path
    init_cfg = config.model.backbone.init_cfg
    if SYSTEMS[name].weights is None:
        assert init_cfg is None
    else:
        assert init_cfg.type == 'Pretrained' and init_cfg.checkpoint.endswith(SYSTEMS[name].weights)


def test_the_data_are_those_of_the_system(name, config):
    system = SYSTEMS[name]
    if system.train is not None:
        assert tuple(config.train_dataloader.dataset.pipeline) == (
            dict(type='LoadTiff'), dict(type='LoadCellAnnotations'), *system.train, dict(type='PackCellInputs'))
    for split in ('val', 'test'):
        assert tuple(config[f'{split}_dataloader'].dataset.pipeline) == (
            dict(type='LoadTiff'), *system.test, dict(type='PackCellInputs'))
    assert config.train_dataloader.batch_size == system.batch
    # The annotation files state the channel order.
    assert not any('channel_order' in config[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test'))
    assert describe_swapped_colors(config) is None
    assert config.default_hooks.checkpoint.save_best == 'AP50'
    # The challenge allows fewer than 200 million trainable parameters.
    assert config.default_hooks.parameter_budget.max_trainable == 199_999_999


def test_reported_values_are_in_the_file_and_in_the_table(name):
    header = ' '.join(path_of(name).read_text().split('"""')[1].split())
    row, = (line for line in (REPO / 'configs' / 'README.md').read_text().splitlines()
            if line.startswith(f'| `{name}.py` |'))
    reported_in_row = row.split('|')[4]
    for value in SYSTEMS[name].reported:
        assert value in header and value in reported_in_row
    assert bool(re.search(r'\.\d', reported_in_row)) == bool(SYSTEMS[name].reported)
    # The limit of detections and NMS have no effect on training.
    (command, folder), = re.findall(rf'python tools/(train|test)\.py configs/{re.escape(name)}\.py'
                                    r'(?: \\ work_dirs/(\S+) --split val)?', header)[:1]
    if command == 'test':
        assert name.endswith(('-detections', '_mask-nms')) and folder in EXPERIMENTS
    else:
        assert f'{SYSTEMS[name].steps:,}' in header


def test_the_schedule_is_that_of_the_system(name, config):
    system = SYSTEMS[name]
    optimizer = dict(config.optim_wrapper.optimizer)
    assert optimizer == system.optimizer
    rates = learning_rates(config, math.ceil(system.n_images / system.batch))
    assert len(rates) == system.steps
    for part, expected in system.rates.items():
        step = min(round(part * system.steps), system.steps - 1)
        assert rates[step] == pytest.approx(expected * optimizer['lr'], rel=.02, abs=.002 * optimizer['lr']), part
