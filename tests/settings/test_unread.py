"""Warnings of settings that nothing reads."""

import pytest
from mmengine.hub import get_config
from support.configs import EXPERIMENTS, load

from mmcell.settings.unread import describe_unread_settings


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_the_project_s_configs_give_no_warning(name):
    assert describe_unread_settings(load(name).to_dict()) == []


@pytest.mark.parametrize('name', [
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py', 'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py',
    'pisa/mask-rcnn_r50_fpn_pisa_1x_coco.py', 'retinanet/retinanet_r50_fpn_1x_coco.py'])
def test_configs_of_mmdetection_give_no_warning(name):
    assert describe_unread_settings(get_config(f'mmdet::{name}').to_dict()) == []


@pytest.fixture(scope='module')
def baseline():
    return load('cell/mask-rcnn_r50')


@pytest.mark.parametrize('key, hint', [
    ('model.test_cfg.rcnn.max_per_image', 'did you mean model.test_cfg.rcnn.max_per_img'),
    ('model.test_cfg.rcnn.mask_nms.iou_treshold', 'did you mean model.test_cfg.rcnn.mask_nms.iou_threshold'),
    ('model.test_cfg.rpn.nms_pres', 'did you mean model.test_cfg.rpn.nms_pre'),
    ('model.train_cfg.rpn_proposals', 'did you mean model.train_cfg.rpn_proposal'),
    ('model.train_cfg.rcnn.mask_sizes', 'did you mean model.train_cfg.rcnn.mask_size'),
    ('model.backbone.depths', 'did you mean model.backbone.depth'),
    ('model.rpn_head.anchor_generator.scale', 'did you mean model.rpn_head.anchor_generator.scales'),
    ('train_dataloader.dataset.pipeline.2.crop_sizes', 'did you mean train_dataloader.dataset.pipeline.2.crop_size'),
    ('train_dataloader.sampler.time', 'did you mean train_dataloader.sampler.times'),
    ('default_hooks.logger.intervals', 'did you mean default_hooks.logger.interval'),
    ('val_evaluator.outfile', 'did you mean val_evaluator.out_file'),
    ('tta_model.turn', 'did you mean tta_model.turns'),
    ('model.zzz', ''),
])
def test_a_setting_that_no_constructor_takes_is_named(baseline, key, hint):
    config = baseline.copy()
    config.merge_from_dict({key: 1})
    sentence, = describe_unread_settings(config.to_dict())
    assert sentence.startswith(f'{key} is read by nothing') and hint in sentence


@pytest.mark.parametrize('name', ['mask-rcnn_r50', 'cascade-mask-rcnn_r50'])
@pytest.mark.parametrize(('setting', 'value', 'head', 'stock_type'), [
    ('mask_nms', dict(iou_threshold=.3), 'mask_head', 'FCNMaskHead'),
    ('one_class_per_box', True, 'bbox_head', 'Shared2FCBBoxHead')])
def test_some_settings_are_read_only_by_heads_of_mmcell(name, setting, value, head, stock_type):
    config = load(f'cell/{name}')
    config.model.test_cfg.rcnn[setting] = value
    assert describe_unread_settings(config.to_dict()) == []
    heads = config.model.roi_head[head]
    (heads[-1] if isinstance(heads, list) else heads).type = stock_type
    assert describe_unread_settings(config.to_dict()) == [f'model.test_cfg.rcnn.{setting} is read by nothing']


def test_stages_of_cascade_are_looked_at():
    config = load('cell/cascade-mask-rcnn_r50')
    config.model.train_cfg.rcnn[1]['pos_weights'] = 1
    assert describe_unread_settings(config.to_dict()) == [
        'model.train_cfg.rcnn.1.pos_weights is read by nothing: did you mean model.train_cfg.rcnn.1.pos_weight?']
