"""The configs of Tiny PASCAL VOC: their facts, and one step of each."""

import pytest
import torch
from conftest import REPO, discs
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from test_configs import depth_of
from torchvision.models import resnext101_32x8d

from mmcell.structures import LabelMapMasks

PATHS = {path.stem: path for path in (REPO / 'configs' / 'voc').glob('*.py')}
E1, E2, X101, YOLACT = 'mask-rcnn_r50', 'mask-rcnn_r50_no-weight-decay', 'mask-rcnn_x101-32x8d', 'yolact_r50'
SIDE = 96


def load(name):
    cfg = Config.fromfile(PATHS[name])
    init_default_scope(cfg.default_scope)
    return cfg


def test_these_are_all():
    assert sorted(PATHS) == [E1, E2, X101, YOLACT]


@pytest.mark.parametrize('name', PATHS)
def test_what_all_have_in_common(name):
    cfg = load(name)
    assert 1 < depth_of(PATHS[name]) <= 3
    # Work folders are named after the file alone, and configs/cell has files of the same name.
    assert cfg.work_dir == f'work_dirs/voc/{name}'
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=30000, val_interval=2500)
    assert cfg.train_dataloader.sampler.type == 'SeededInfiniteSampler'
    assert cfg.log_processor.by_epoch is False
    checkpoint = cfg.default_hooks.checkpoint
    assert (checkpoint.type, checkpoint.by_epoch, checkpoint.save_best) == ('CellCheckpointHook', False, 'AP50')
    # What is validated is what is saved.
    assert checkpoint.interval == cfg.train_cfg.val_interval
    assert cfg.model.data_preprocessor.bgr_to_rgb is False
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.type == 'TinyVOCDataset' and dataset.ann_file == f'annotations/voc/{split}.json'
        assert dataset.pipeline[0] == dict(type='LoadTiff')
        # For pictures of the image as the model saw it.
        assert split == 'train' or {'channel_order', 'percentiles'} < set(dataset.pipeline[-1].meta_keys)


@pytest.mark.parametrize('name, lr, weight_decay, batch', [
    (E1, 2.5e-4, .1, 2), (E2, 2.5e-4, 0, 2), (X101, 2.5e-4, .1, 2), (YOLACT, 1e-3, 5e-4, 8)])
def test_the_optimisers(name, lr, weight_decay, batch):
    cfg = load(name)
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=lr, momentum=.9, weight_decay=weight_decay)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.param_scheduler == [dict(type='LinearLR', start_factor=.001, by_epoch=False, begin=0, end=1000)]


@pytest.mark.parametrize('name', [E1, E2, X101])
def test_mask_rcnn(name):
    model = load(name).model
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 20
    assert model.train_cfg.rcnn.sampler.num == 128
    assert model.backbone.norm_cfg == dict(type='BN', requires_grad=False) and model.backbone.norm_eval
    assert (model.backbone.init_cfg.checkpoint, model.backbone.depth) == (
        ('torchvision://resnext101_32x8d', 101) if name == X101 else ('torchvision://resnet50', 50))


def test_yolact_is_mmdetections():
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


def sample(rng):
    label_map = discs((SIDE, SIDE), [(1, 30, 30, 20), (2, 60, 70, 18)])
    masks = LabelMapMasks.from_label_maps([label_map])
    data_sample = DetDataSample(metainfo=dict(
        img_id=1, img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), scale_factor=(1., 1.)))
    data_sample.gt_instances = InstanceData(
        masks=masks, labels=torch.tensor([4, 19]), bboxes=masks.get_bboxes('hbox').tensor)
    return torch.from_numpy(rng.integers(0, 255, (3, SIDE, SIDE)).astype('uint8')), data_sample


@pytest.mark.parametrize('name', [E1, YOLACT, pytest.param(X101, marks=pytest.mark.slow)])
def test_one_step_and_one_prediction(name, rng):
    torch.manual_seed(0)
    cfg = load(name).model
    cfg.backbone.init_cfg = None
    if name != YOLACT:
        cfg.train_cfg.rcnn.sampler.num = 32
    test_cfg = cfg.test_cfg.get('rcnn', cfg.test_cfg)
    # An untrained model finds as many objects as it may; their masks are what takes the time.
    test_cfg.update(max_per_img=5, score_thr=0.)
    model = MODELS.build(cfg)
    model.init_weights()
    model.train()
    inputs, data_sample = sample(rng)
    losses = model(**model.data_preprocessor(
        dict(inputs=[inputs] * 2, data_samples=[data_sample] * 2), training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    if name != YOLACT:
        norms = [module for module in model.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms and not any(p.requires_grad for norm in norms for p in norm.parameters())
    model.eval()
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(dict(inputs=[inputs], data_samples=[data_sample])),
                          mode='predict')[0].pred_instances
    assert len(predicted.masks) == len(predicted.labels) == 5


@pytest.mark.slow
def test_torchvisions_resnext_fits():
    backbone = load(X101).model.backbone
    backbone.init_cfg = None
    shapes = {name: value.shape for name, value in MODELS.build(backbone).state_dict().items()}
    theirs = {name: value.shape for name, value in resnext101_32x8d(weights=None).state_dict().items()
              if not name.startswith('fc.')}
    assert shapes == theirs
