"""Each config declares what its row of the published systems says; rows are written out once more, by hand."""

import functools
import logging
import math
from dataclasses import dataclass, field

import pytest
import torch
from conftest import REPO
from mmdet.registry import TASK_UTILS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import BaseLoop, Runner

N_TRAIN = 167  # 209 images of the challenge, less a fifth
BACKBONES = {'r18': 18, 'r50': 50, 'r101': 101, 'x101-32x8d': 101, 'convnext': 'tiny', 'convnext-small': 'small',
             'convnext-base': 'base', 'convnextv2-base': 'base'}
DEFAULT_RATIOS = [.5, 1., 2.]
CROP = 'RandomCrop', 'FilterAnnotations', 'RandomFlip'
WARM_UP_AND_COSINE = {0: .01, 1 / 30: 1, .5: .5, 1: 0}


@dataclass(frozen=True)
class System:
    """What a row says. Lengths in px; ``rates`` are parts of the learning rate at parts of the training."""

    anchors: tuple = (16, 32, 64, 128, 256)
    ratios: tuple = tuple(DEFAULT_RATIOS)
    detections: int = 1000
    frozen: int = 1
    optimizer: dict = field(default_factory=lambda: dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=.05))
    batch: int = 2
    steps: int = 84 * 30
    rates: dict = field(default_factory=lambda: WARM_UP_AND_COSINE)
    augmentation: tuple = CROP
    n_classes: int = 4


B1 = functools.partial(
    System, optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=5e-4), batch=1, steps=167 * 60,
    rates={0: .001, .125: .5, .25: 1, .625: .5, 1: 0}, augmentation=('CapLongSide', 'FilterAnnotations'))
ENLARGED = 'Resize', 'FilterAnnotations'
TORCHVISION = functools.partial(System, anchors=(32, 64, 128, 256, 512), augmentation=ENLARGED)
SGD = dict(type='SGD', lr=.005, momentum=.9, weight_decay=5e-4)
C1 = functools.partial(TORCHVISION, optimizer=SGD, steps=84 * 100)
D1 = functools.partial(
    System, anchors=(16, 32, 48, 64, 96), ratios=(.25, .5, .75, 1., 1.5, 2., 3., 4.),
    optimizer=dict(type='Adam', lr=5e-5), steps=84 * 150, rates={0: 1, .5: 1, 1: 1},
    augmentation=ENLARGED)
VOC = functools.partial(
    System, anchors=(32, 64, 128, 256, 512), detections=100,
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=.1), steps=30000,
    rates={0: .001, 1 / 30: 1, 1: 1}, augmentation=('RandomChoiceResize', 'RandomFlip'), n_classes=20)

SYSTEMS = {
    'cell/mask-rcnn_r50': System(),
    'cell/mask-rcnn_r50_consep': System(),
    'cell/mask-rcnn_r18': System(),
    'cell/mask-rcnn_r101': System(),
    'cell/mask-rcnn_x101-32x8d': System(),
    # A1, and larger backbones
    'cell/mask-rcnn_convnext': System(detections=300, frozen=0),
    'cell/mask-rcnn_convnext-small': System(detections=300, frozen=0),
    'cell/mask-rcnn_convnext-base': System(detections=300, frozen=0),
    'cell/mask-rcnn_convnextv2-base': System(detections=300, frozen=0),
    'cell/cascade-mask-rcnn_r50': System(),
    'cell/cascade-mask-rcnn_convnextv2-base': System(frozen=0, augmentation=(
        'CellAffine', 'RandomCrop', 'FilterAnnotations', 'RandomFlip', 'RandomRotate90', 'mmpretrain.ColorJitter')),
    # A2
    'cell/mask-rcnn_r50_tv-v1': TORCHVISION(detections=100),
    'cell/mask-rcnn_r50_tv-v2_30e': TORCHVISION(detections=100),
    'cell/mask-rcnn_convnext_tv': TORCHVISION(detections=100, frozen=0),
    'cell/mask-rcnn_r50_tv-v1_better': System(detections=100, augmentation=(
        *ENLARGED, 'RandomFlip', 'RandomRotate90', 'mmpretrain.ColorJitter')),
    # A3
    **{f'cell/mask-rcnn_r50_tv-v1_{n}-detections': TORCHVISION(detections=n) for n in (50, 150, 200, 250, 300)},
    # B
    'cell/mask-rcnn_r50_fpn-bn': B1(),
    'cell/mask-rcnn_r50_fpn-bn_color': B1(augmentation=(
        'CapLongSide', 'FilterAnnotations', 'mmpretrain.ColorJitter', 'RandomGrayscale')),
    'cell/mask-rcnn_r50_fpn-bn_cbam': B1(),
    # C
    'cell/mask-rcnn_r50_tv-v2': C1(rates={0: 1, .799: 1, .801: .1, .899: .1, .901: .01, 1: .01}),
    'cell/mask-rcnn_r50_tv-v2_constant-lr': C1(rates={0: 1, .85: 1, 1: 1}),
    # D
    'cell/mask-rcnn_r101_small-anchors': D1(),
    'cell/mask-rcnn_r18_small-anchors': D1(),
    'cell/mask-rcnn_r50_small-anchors': D1(),
    'cell/mask-rcnn_r101_default-anchors': D1(anchors=(32, 64, 128, 256, 512), ratios=tuple(DEFAULT_RATIOS)),
    # E
    'voc/mask-rcnn_r50': VOC(),
    'voc/mask-rcnn_r50_no-weight-decay': VOC(optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=0.)),
    'voc/mask-rcnn_x101-32x8d': VOC(),
    'voc/yolact_r50': VOC(
        anchors=(24, 48, 96, 192, 384), frozen=-1, batch=8,
        optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4),
        augmentation=('FilterAnnotations', 'Expand', 'MinIoURandomCrop', 'Resize', 'RandomFlip',
                      'PhotoMetricDistortion')),
}
OTHERS = {'cell/mask-rcnn_r18_demo'}  # which `make demo` runs


def test_every_config_has_a_row():
    found = {str(path.relative_to(REPO / 'configs').with_suffix('')) for folder in ('cell', 'voc')
             for path in (REPO / 'configs' / folder).rglob('*.py')}
    assert found == SYSTEMS.keys() | OTHERS


@pytest.fixture(params=SYSTEMS)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    cfg = Config.fromfile(REPO / 'configs' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


def test_the_model_is_that_of_the_row(name, config):
    system, model = SYSTEMS[name], config.model
    head = model.get('rpn_head') or model.bbox_head
    generator = TASK_UTILS.build(head.anchor_generator)
    # Anchors of a level differ in shape alone.
    sizes = [(anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt() for anchors in generator.base_anchors]
    for of_level, size in zip(sizes, system.anchors, strict=True):
        # torchvision rounds them.
        assert of_level.tolist() == pytest.approx([size] * len(system.ratios), rel=.02)
    assert tuple(head.anchor_generator.ratios) == system.ratios
    test_cfg = model.test_cfg.get('rcnn', model.test_cfg)
    assert test_cfg.max_per_img == system.detections
    assert model.test_cfg.get('rpn', test_cfg).max_per_img >= system.detections
    assert model.backbone.get('frozen_stages', 0) == system.frozen
    backbone = name.split('/')[1].split('_')[1]
    assert model.backbone.get('depth', model.backbone.get('arch')) == BACKBONES[backbone]
    assert model.data_preprocessor.bgr_to_rgb is False
    roi_head = model.get('roi_head', model)
    box_heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, list) else [roi_head.bbox_head]
    assert {part.num_classes for part in (*box_heads, roi_head.mask_head)} == {system.n_classes}


def test_the_data_are_those_of_the_row(name, config):
    pipeline = [step.type for step in config.train_dataloader.dataset.pipeline]
    assert pipeline[:2] == ['LoadTiff', 'LoadCellAnnotations'] and pipeline[-1] == 'PackCellInputs'
    assert tuple(pipeline[2:-1]) == SYSTEMS[name].augmentation
    assert config.train_dataloader.batch_size == SYSTEMS[name].batch
    if name.startswith('cell/'):
        orders = {config[f'{split}_dataloader'].dataset.channel_order for split in ('train', 'val', 'test')}
        assert orders == {'rgb' if 'consep' in name else 'bgr'}
    assert config.default_hooks.checkpoint.save_best == 'AP50'
    assert config.default_hooks.parameter_budget.max_trainable == 200_000_000


def test_the_schedule_is_that_of_the_row(name, config):
    system = SYSTEMS[name]
    optimizer = dict(config.optim_wrapper.optimizer)
    assert optimizer == system.optimizer
    rates = learning_rates(config, math.ceil(N_TRAIN / system.batch))
    assert len(rates) == system.steps
    for part, expected in system.rates.items():
        step = min(round(part * system.steps), system.steps - 1)
        assert rates[step] == pytest.approx(expected * optimizer['lr'], rel=.02, abs=.002 * optimizer['lr']), part


class Loop(BaseLoop):
    """As long as a training, and nothing else."""

    max_epochs = max_iters = dataloader = None

    def run(self):
        pass


def learning_rates(config, steps_per_epoch):
    """The learning rate of each step, as mmengine's ParamSchedulerHook changes it."""
    max_epochs = config.train_cfg.get('max_epochs')
    max_steps = max_epochs * steps_per_epoch if max_epochs else config.train_cfg.max_iters
    runner = Runner.__new__(Runner)
    runner._train_loop = Loop.__new__(Loop)
    runner._train_loop.__dict__.update(max_epochs=max_epochs, max_iters=max_steps, dataloader=range(steps_per_epoch))
    runner.logger = logging.getLogger('test')
    runner.optim_wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
    schedulers = runner.build_param_scheduler(config.param_scheduler)
    rates = []
    for step in range(1, max_steps + 1):
        rates.append(runner.optim_wrapper.param_groups[0]['lr'])
        for scheduler in schedulers:
            if not scheduler.by_epoch or (max_epochs and step % steps_per_epoch == 0):
                scheduler.step()
    return rates
