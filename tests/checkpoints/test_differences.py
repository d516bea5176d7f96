"""Comparing the config of a training with the config in a checkpoint."""

import copy

import pytest
from mmengine.config import Config
from support.paths import REPO

from mmcell.checkpoints.differences import compare_models, compare_settings, compare_trainings, recorded_settings

CONFIG = 'configs/cell/mask-rcnn_r18_demo.py'


@pytest.fixture(scope='module')
def recorded():
    """The settings of the demo, as they come back from the text in a checkpoint."""
    return recorded_settings(dict(config=Config.fromfile(REPO / CONFIG).pretty_text))


@pytest.fixture
def config():
    return Config.fromfile(REPO / CONFIG)


def names(differences):
    return [difference.name for difference in differences]


def test_a_config_equals_its_text_in_a_checkpoint(recorded, config):
    assert compare_trainings(recorded, config.to_dict()) == []
    assert compare_models(recorded['model'], config.model.to_dict()) == []


@pytest.mark.parametrize('key, value', [
    ('model.rpn_head.anchor_generator.scales', [8]), ('model.rpn_head.bbox_coder.target_stds', [.5, .5, .5, .5]),
    ('model.roi_head.bbox_head.num_classes', 3), ('model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio', 2),
    ('model.data_preprocessor.mean', [0, 0, 0]), ('model.data_preprocessor.bgr_to_rgb', True),
    ('model.roi_head.bbox_head.reg_class_agnostic', True), ('model.roi_head.bbox_head.loss_cls.use_sigmoid', True),
    ('model.backbone.depth', 34), ('model.backbone.norm_cfg.type', 'GN'), ('model.neck.num_outs', 6),
])
def test_what_changes_the_meaning_of_weights_is_found(recorded, config, key, value):
    config.merge_from_dict({key: value})
    assert compare_models(recorded['model'], config.model.to_dict())[0].name.startswith(key)


@pytest.mark.parametrize('key, value', [
    ('model.test_cfg.rcnn.max_per_img', 5), ('model.test_cfg.rcnn.nms.iou_threshold', .3),
    ('model.train_cfg.rcnn.sampler.num', 7), ('model.backbone.frozen_stages', 1), ('model.backbone.norm_eval', True),
    ('model.neck.init_cfg.gain', 2.),
    ('model.data_preprocessor.pad_size_divisor', 1),
    ('model.roi_head.bbox_head.loss_bbox.loss_weight', 2.), ('model.roi_head.mask_head.type', 'FCNMaskHead'),
    ('model.roi_head.bbox_roi_extractor.type', 'SingleRoIExtractor'), ('model.roi_head.type', 'StandardRoIHead'),
    # Written defaults.
    ('model.backbone.dilations', (1, 1, 1, 1)), ('model.rpn_head.anchor_generator.center_offset', 0.),
    ('model.roi_head.bbox_head.norm_cfg', None),
])
def test_what_leaves_the_meaning_of_weights_is_not_compared(recorded, config, key, value):
    config.merge_from_dict({key: value})
    assert compare_models(recorded['model'], config.model.to_dict()) == []


def test_tiles_and_views_around_a_model_are_not_compared(recorded, config):
    model = config.model.to_dict()
    viewed = dict(type='MaskTTAModel', module=model)
    assert compare_models(recorded['model'], dict(type='TiledDetector', detector=viewed, tile_px=512)) == []
    assert compare_models(dict(type='TiledDetector', detector=model), model) == []


@pytest.mark.parametrize('key, value', [
    ('randomness.seed', 1), ('optim_wrapper.optimizer.lr', 1.), ('train_cfg.max_epochs', 5), ('load_from', 'x.pth'),
    ('model.test_cfg.rcnn.max_per_img', 5), ('train_dataloader.batch_size', 1), ('train_dataloader.sampler.times', 2),
    ('train_dataloader.dataset.ann_file', 'other.json'), ('default_hooks.checkpoint.save_best', 'AP'),
    ('custom_hooks', [dict(type='EMAHook')]), ('param_scheduler.0.end', 7), ('val_dataloader', None),
])
def test_what_another_training_is(recorded, config, key, value):
    config.merge_from_dict({key: value})
    difference, *_ = compare_trainings(recorded, config.to_dict())
    assert difference.name.startswith(key) and ' there, ' in str(difference) and ' here)' in str(difference)


@pytest.mark.parametrize('key, value', [
    ('work_dir', 'x'), ('train_dataloader.num_workers', 0), ('train_dataloader.persistent_workers', False),
    ('train_dataloader.dataset.cache_gib', 2), ('default_hooks.logger.interval', 1),
    ('test_dataloader.dataset.ann_file', 'x.json'), ('log_level', 'ERROR'),
    ('tta_model.scales', [2.]), ('env_cfg.cudnn_benchmark', True),
])
def test_what_does_not_make_another_training(recorded, config, key, value):
    config.merge_from_dict({key: value})
    assert compare_trainings(recorded, config.to_dict()) == []


def test_a_resumed_training_names_its_own_checkpoint(recorded, config):
    resumed = {**copy.deepcopy(recorded), 'resume': True, 'load_from': 'work_dirs/x/epoch_1.pth'}
    assert compare_trainings(resumed, config.to_dict()) == []
    assert names(compare_trainings({**resumed, 'resume': False}, config.to_dict())) == ['load_from']


@pytest.mark.parametrize('content', [{}, dict(config=1), dict(config='import os'), dict(config='x = f()')])
def test_configs_that_cannot_be_read_are_not_compared(content):
    assert recorded_settings(content) is None


def test_a_replaced_class_is_one_difference():
    before = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1, momentum=.9)))
    now = dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=.2, betas=(.9, .999))))
    assert names(compare_trainings(before, now)) == ['optim_wrapper.optimizer.type', 'optim_wrapper.optimizer.lr']


def test_classes_that_only_a_checkpoint_names_are_not_looked_up(config, tmp_path, monkeypatch):
    (tmp_path / 'never_imported.py').write_text('raise SystemExit')
    monkeypatch.syspath_prepend(tmp_path)
    model = config.model.to_dict()
    for kind in ('never_imported', 'never_imported.Backbone', ['x'], {'a': 1}):
        hostile = {**model, 'backbone': {**model['backbone'], 'type': kind}}
        assert names(compare_models(hostile, model)) == ['model.backbone.type']


def differences(before, now):
    return [str(difference) for difference in compare_settings(before, now)]


def test_entries_of_lists_that_were_added_or_removed_are_found():
    before = {'pipeline': [{'type': 'Load'}, {'type': 'Flip', 'prob': .5}, {'type': 'Pack'}]}
    now = {'pipeline': [{'type': 'Load'}, {'type': 'Gray'}, {'type': 'Flip', 'prob': .5}, {'type': 'Pack'}]}
    assert differences(before, now) == ["pipeline.1 (not set there, {'type': 'Gray'} here)"]
    assert differences(now, before) == ["pipeline.1 ({'type': 'Gray'} there, not set here)"]
    now['pipeline'][2] = {'type': 'Flip', 'prob': .7}
    assert differences(before, now) == [
        "pipeline.1 (not set there, {'type': 'Gray'} here)", 'pipeline.2.prob (0.5 there, 0.7 here)']
    assert differences({'scales': [8]}, {'scales': [4]}) == ['scales.0 (8 there, 4 here)']
    assert differences({'scales': [8]}, {'scales': [2, 4]}) == ['scales ([8] there, [2, 4] here)']


def test_other_classes_are_described_with_their_own_arguments():
    before = {'backbone': {'type': 'ResNet', 'depth': 50}}
    now = {'backbone': {'type': 'CBAMResNet', 'depth': 50, 'after': 'stage'}}
    assert differences(before, now) == ["backbone.type ('ResNet' there, 'CBAMResNet' with after='stage' here)"]
