"""Tests of what only the configs of Tiny PASCAL VOC have."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from support.configs import EXPERIMENTS, load
from torchvision.models import resnext101_32x8d

NAMES = [name for name in EXPERIMENTS if name.startswith('voc/')]
E1, E1_CODE, E2, X101, YOLACT = (f'voc/{name}' for name in (
    'mask-rcnn_r50', 'mask-rcnn_r50_bias-decay', 'mask-rcnn_r50_no-weight-decay', 'mask-rcnn_x101-32x8d', 'yolact_r50'))


@pytest.mark.parametrize('name', NAMES)
def test_settings_that_all_have_in_common(name):
    cfg = load(name)
    # A child would inherit the folder of its parent. The default is the path of the config.
    assert 'work_dir' not in cfg
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=30000, val_interval=3000)
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


@pytest.mark.parametrize('name', [E1, E1_CODE, E2, X101])
def test_mask_rcnn(name):
    model = load(name).model
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 20
    assert model.train_cfg.rcnn.sampler.num == 128
    assert model.backbone.norm_cfg == dict(type='BN', requires_grad=False) and model.backbone.norm_eval
    assert (model.backbone.init_cfg.checkpoint, model.backbone.depth) == (
        ('open-mmlab://detectron2/resnext101_32x8d', 101) if name == X101 else ('torchvision://resnet50', 50))


def test_the_printed_code_only_decays_biases():
    """With detectron2's default of 1e-4 for weights, and WEIGHT_DECAY_BIAS = .01."""
    cfg = load(E1_CODE)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    decays = {id(parameter): group['weight_decay']
              for group in build_optim_wrapper(model, cfg.optim_wrapper).param_groups for parameter in group['params']}
    trainable = [(name, decays[id(parameter)]) for name, parameter in model.named_parameters()
                 if parameter.requires_grad]
    assert {decay for name, decay in trainable if name.endswith('.bias')} == {.01}
    assert {decay for name, decay in trainable if not name.endswith('.bias')} == {1e-4}


def test_the_caffe2_weights_see_the_colours_of_their_training():
    """BGR, with mean and deviation as in MMDetection's config for these weights."""
    stock = get_config('mmdet::mask_rcnn/mask-rcnn_x101-32x8d_fpn_1x_coco.py').model
    ours = load(X101).model
    preprocessor = MODELS.build(ours.data_preprocessor)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0] = 200  # red
    seen = preprocessor(dict(inputs=[image]))['inputs'][0, :, 0, 0]
    expected = (torch.tensor([0., 0., 200.]) - torch.tensor(stock.data_preprocessor.mean)) / torch.tensor(
        stock.data_preprocessor.std)
    assert torch.allclose(seen, expected)
    assert ours.backbone.init_cfg == stock.backbone.init_cfg


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
def test_the_backbone_has_the_layers_of_torchvisions_resnext():
    backbone = load(X101).model.backbone
    backbone.init_cfg = None
    shapes = {name: value.shape for name, value in MODELS.build(backbone).state_dict().items()}
    theirs = {name: value.shape for name, value in resnext101_32x8d(weights=None).state_dict().items()
              if not name.startswith('fc.')}
    assert shapes == theirs
