import re

import pytest
from mmengine.config import Config
from support.paths import REPO

from mmcell.settings.names import UnknownSettingError, argument_names, find_class
from mmcell.settings.options import SettingError, apply_options


@pytest.fixture(scope='module')
def baseline():
    return Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50.py')


@pytest.fixture
def config(baseline):
    return baseline.copy()


@pytest.mark.parametrize('option, hint', [
    ('model.test_cfg.rcnn.max_per_image=5', r'did you mean model\.test_cfg\.rcnn\.max_per_img'),
    ('model.test_cfg.rcnn.score_threshold=.9', r'did you mean model\.test_cfg\.rcnn\.score_thr'),
    ('modell.backbone.depth=18', 'did you mean model'),
    ('train_dataloder.batch_size=4', 'did you mean train_dataloader'),
    ('train_dataloader.batchsize=3', r'did you mean train_dataloader\.batch_size'),
    ('train_cfg.max_epoch=1', r'did you mean train_cfg\.max_epochs'),
    ('model.roi_head.bbox_head.num_clases=2', r'did you mean model\.roi_head\.bbox_head\.num_classes'),
    ('optim_wrapper.optimizer.momentum=.9', 'there are type, lr, betas'),
    ('param_scheduler.7.end=1', 'the list param_scheduler has the entries 0 to 1, got 7'),
    ('param_scheduler.first.end=1', 'got first'),
    # The argument exists, but the config has no such list.
    ('custom_hooks.0.type=EMAHook', r'the config has no list custom_hooks\. To set it'),
    ('load_from.path=x', 'load_from is None and has no settings inside'),
    ('randomness.sede=1', r'did you mean randomness\.seed'),
    # Names of settings that are inside others.
    ('seed=3', r'did you mean randomness\.seed\?'),
    ('lr=.1', r'did you mean optim_wrapper\.optimizer\.lr\?'),
    ('batch_size=2', r'did you mean train_dataloader\.batch_size or val_dataloader\.batch_size or '),
])
def test_a_setting_that_nothing_reads_is_refused_with_the_nearest_names(config, option, hint):
    before = config.to_dict()
    with pytest.raises(UnknownSettingError, match=hint):
        apply_options(config, [option])
    assert config.to_dict() == before


@pytest.mark.parametrize('option, path, value', [
    ('model.test_cfg.rcnn.max_per_img=5', 'model.test_cfg.rcnn.max_per_img', 5),
    ('param_scheduler.0.end=2', 'param_scheduler.0.end', 2),
    ('load_from=a b.pth', 'load_from', 'a b.pth'),
    # Not in the config, but arguments of what is built from it.
    ('model.backbone.with_cp=True', 'model.backbone.with_cp', True),
    ('train_dataloader.drop_last=True', 'train_dataloader.drop_last', True),
    ('train_dataloader.dataset.indices=12', 'train_dataloader.dataset.indices', 12),
    ('train_dataloader.dataset.metainfo.classes=[a,b]', 'train_dataloader.dataset.metainfo.classes', ['a', 'b']),
    ('train_dataloader.sampler.times=3', 'train_dataloader.sampler.times', 3),
    ('randomness.deterministic=True', 'randomness.deterministic', True),
    ('find_unused_parameters=True', 'find_unused_parameters', True),
    ('tta_model.tta_cfg.wbf.iou_threshold=.6', 'tta_model.tta_cfg.wbf.iou_threshold', .6),
    ('model.test_cfg.rcnn.mask_nms.iou_threshold=.3', 'model.test_cfg.rcnn.mask_nms.iou_threshold', .3),
    ('model.test_cfg.rcnn.one_class_per_box=True', 'model.test_cfg.rcnn.one_class_per_box', True),
    ('model.test_cfg.rcnn.nms.class_agnostic=True', 'model.test_cfg.rcnn.nms.class_agnostic', True),
    ('work_dir=run two', 'work_dir', 'run two'),
    # New on purpose.
    ('+anything.new=1', 'anything.new', 1),
    ('+model.test_cfg.rcnn.max_per_image=5', 'model.test_cfg.rcnn.max_per_image', 5),
])
def test_settings_arrive(config, option, path, value):
    apply_options(config, [option])
    for part in path.split('.'):
        config = config[int(part) if part.isdecimal() else part]
    assert config == value


def test_two_settings_of_a_new_dict(config):
    apply_options(config, ['model.test_cfg.rcnn.mask_nms.iou_threshold=.3',
                           'model.test_cfg.rcnn.mask_nms.class_agnostic=True'])
    assert config['model']['test_cfg']['rcnn']['mask_nms'] == {'iou_threshold': .3, 'class_agnostic': True}


def test_later_options_see_earlier_ones(config):
    apply_options(config, ['+model.extra.a=1', 'model.extra.a=2'])
    assert config.model.extra.a == 2


@pytest.mark.parametrize('option', ['lr', '=3', 'a..b=1', 'model.backbone.out_indices=(1,2'])
def test_what_is_no_setting_is_refused(config, option):
    with pytest.raises(SettingError, match='--cfg-options'):
        apply_options(config, [option])


def test_every_documented_option_is_accepted(config):
    """The options in README, guides and configs/README.md."""
    documents = [REPO / 'README.md', *(REPO / 'docs').rglob('*.md'), REPO / 'configs' / 'README.md']
    text = '\n'.join(path.read_text(encoding='utf-8') for path in documents)
    parts = '|'.join(key for key in config if key not in ('custom_imports', 'env_cfg'))
    options = set(re.findall(rf'(?<![\w.+/])((?:{parts})(?:\.\w+)+)=', text))
    assert len(options) > 15
    # The guide's example of a name that is refused.
    for option in sorted(options - {'model.test_cfg.rcnn.max_per_image'}):
        apply_options(config.copy(), [f'{option}=None'])


def test_arguments_of_base_classes_count():
    names = argument_names(find_class('CBAMResNet'))
    assert {'cbam', 'depth', 'with_cp', 'frozen_stages'} <= set(names) and 'self' not in names
    assert find_class('NoSuchClass') is None and find_class('os.path.join') is None


@pytest.mark.parametrize('option', ['model=3', 'optim_wrapper.optimizer=SGD', 'train_dataloader=False'])
def test_a_single_value_does_not_replace_a_dict(config, option):
    with pytest.raises(SettingError, match=r'is a dict with the settings .*change one of them with \S+\.NAME=VALUE'):
        apply_options(config, [option])
    apply_options(config, ['val_dataloader=None', "optim_wrapper.optimizer={'_delete_': True, 'type': 'SGD'}"])
    assert config.val_dataloader is None and config.optim_wrapper.optimizer == {'type': 'SGD'}


def test_elements_of_lists_are_merged_replaced_and_set(config):
    apply_options(config, ['train_dataloader.dataset.pipeline.2.crop_size=(64,64)',
                           "train_dataloader.dataset.pipeline.3={'_delete_': True, 'type': 'RandomFlip', 'prob': 1.}",
                           'model.rpn_head.anchor_generator.strides.0=2'])
    pipeline = config.to_dict()['train_dataloader']['dataset']['pipeline']
    assert pipeline[2]['crop_size'] == (64, 64)
    assert pipeline[2]['type'] == 'RandomCrop'
    assert pipeline[3] == {'type': 'RandomFlip', 'prob': 1.}
    assert config.model.rpn_head.anchor_generator.strides == [2, 8, 16, 32, 64]
    assert config.train_dataloader.dataset.pipeline[3].type == 'RandomFlip'
