"""Tests of what only the configs of Tiny PASCAL VOC have."""

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from support.configs import depth_of
from support.paths import REPO
from torchvision.models import resnext101_32x8d

PATHS = {path.stem: path for path in (REPO / 'configs' / 'voc').glob('*.py')}
E1, E2, X101, YOLACT = 'mask-rcnn_r50', 'mask-rcnn_r50_no-weight-decay', 'mask-rcnn_x101-32x8d', 'yolact_r50'


def load(name):
    cfg = Config.fromfile(PATHS[name])
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('name', PATHS)
def test_settings_that_all_have_in_common(name):
    cfg = load(name)
    assert 1 < depth_of(PATHS[name]) <= 3
    # By default, work folders are named only after the file, and configs/cell has files of the same names.
    assert cfg.work_dir == f'work_dirs/voc/{name}'
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=30000, val_interval=2500)
    assert cfg.train_dataloader.sampler.type == 'SeededInfiniteSampler'
    assert cfg.log_processor.by_epoch is False
    # Otherwise all validations would be logged with step 0.
    assert cfg.default_hooks.logger.log_metric_by_epoch is False
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.type, checkpoint.by_epoch, checkpoint.save_best) == ('CellCheckpointHook', False, 'AP50')
    # Each checkpoint is validated when it is saved.
    assert checkpoint.interval == cfg.train_cfg.val_interval
    assert cfg.model.data_preprocessor.bgr_to_rgb is False
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.type == 'TinyVOCDataset' and dataset.ann_file == f'annotations/voc/{split}.json'
        assert dataset.pipeline[0] == dict(type='LoadTiff')
        assert dataset.pipeline[-1] == dict(type='PackCellInputs')


@pytest.mark.parametrize('name', [E1, E2, X101])
def test_mask_rcnn(name):
    model = load(name).model
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 20
    assert model.train_cfg.rcnn.sampler.num == 128
    assert model.backbone.norm_cfg == dict(type='BN', requires_grad=False) and model.backbone.norm_eval
    assert (model.backbone.init_cfg.checkpoint, model.backbone.depth) == (
        ('torchvision://resnext101_32x8d', 101) if name == X101 else ('torchvision://resnet50', 50))


def test_yolact_is_that_of_mmdetection():
    stock = get_config('mmdet::yolact/yolact_r50_1xb8-55e_coco.py')
    ours = load(YOLACT)
    assert stock.train_dataloader.batch_size == ours.train_dataloader.batch_size
    assert stock.optim_wrapper.optimizer == ours.optim_wrapper.optimizer
    stock.model.bbox_head.num_classes = stock.model.mask_head.num_classes = 20
    stock.model.data_preprocessor.bgr_to_rgb = False
    assert ours.model == stock.model
    names = {'LoadImageFromFile': 'LoadTiff', 'LoadAnnotations': 'LoadCellAnnotations', 'PackDetInputs':
             'PackCellInputs'}
    own, theirs = ours.train_dataloader.dataset.pipeline, stock.train_dataloader.dataset.pipeline
    assert [step.type for step in own] == [names.get(step.type, step.type) for step in theirs]
    expand = next(step for step in theirs if step.type == 'Expand')
    expand.to_rgb = False
    assert own[2:-1] == theirs[2:-1]


@pytest.mark.slow
def test_the_weights_of_torchvisions_resnext_fit():
    backbone = load(X101).model.backbone
    backbone.init_cfg = None
    shapes = {name: value.shape for name, value in MODELS.build(backbone).state_dict().items()}
    theirs = {name: value.shape for name, value in resnext101_32x8d(weights=None).state_dict().items()
              if not name.startswith('fc.')}
    assert shapes == theirs
