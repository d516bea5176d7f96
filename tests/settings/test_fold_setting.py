"""The setting ``fold`` of a config."""

import copy

import pytest
from mmengine.config import Config
from support.configs import EXPERIMENTS, load

from mmcell.datasets import CellDataset
from mmcell.settings.folds import apply_fold
from mmcell.settings.options import SettingError, apply_options
from mmcell.settings.unread import describe_unread_settings


def config_of(train, val=None, **settings):
    """A config with the fold 2 and these data sets, as dicts or as names of annotation files."""
    loaders = {key: dict(dataset=dict(type='CellDataset', ann_file=data) if isinstance(data, str) else data)
               for key, data in (('train_dataloader', train), ('val_dataloader', val)) if data is not None}
    return Config({'fold': 2, **loaders, **settings})


def innermost(dataset):
    """Returns the settings of the data set inside of all wrappers."""
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_config_has_folds(name):
    cfg = load(name)
    before = copy.deepcopy(cfg.to_dict())
    apply_options(cfg, ['fold=2'])
    apply_fold(cfg)
    train, val = innermost(cfg.train_dataloader.dataset), cfg.val_dataloader.dataset
    folder = innermost(before['train_dataloader']['dataset'])['ann_file'].removesuffix('train.json')
    assert train.ann_file == val.ann_file == f'{folder}trainval.json'
    assert (train.fold, train.held_out, val.fold, val.held_out) == (2, False, 2, True)
    assert describe_unread_settings(cfg.to_dict()) == []
    # Nothing else changes.
    changed = cfg.to_dict()
    assert changed.pop('fold') == 2
    for split in ('train', 'val'):
        dataset = innermost(changed[f'{split}_dataloader']['dataset'])
        dataset['ann_file'] = f'{folder}{split}.json'
        del dataset['fold'], dataset['held_out']
    assert changed == before


@pytest.mark.parametrize('fold', [None, 'missing'])
def test_without_a_fold_nothing_changes(fold):
    cfg = load('cell/mask-rcnn_r50')
    if fold is None:
        cfg.fold = None
    before = cfg.to_dict()
    apply_fold(cfg)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('fold', [-1, True, '2', 1.5, [0]])
def test_a_fold_is_a_whole_number(fold):
    with pytest.raises(SettingError, match=r'fold must be a whole number from 0 on, or None, got'):
        apply_fold(config_of('train.json', fold=fold))


def test_data_sets_inside_wrappers_and_files_without_a_folder():
    own, other = (dict(type=CellDataset, ann_file=name) for name in ('train.json', 'b/train.json'))
    extra = dict(type='CocoDataset', ann_file='extra.json', fold=None)
    joined = dict(type='ConcatDataset', datasets=[own, other, extra])
    cfg = config_of(dict(type='RepeatDataset', times=2, dataset=joined),
                    dict(type='ConcatDataset', datasets=[dict(type='CellDataset', ann_file='b/val.json')]))
    apply_fold(cfg)
    first, second, third = cfg.train_dataloader.dataset.dataset.datasets
    assert (first.ann_file, first.fold, first.held_out) == ('trainval.json', 2, False)
    assert (second.ann_file, second.fold) == ('b/trainval.json', 2)
    assert third == extra
    held_out, = cfg.val_dataloader.dataset.datasets
    assert (held_out.ann_file, held_out.fold, held_out.held_out) == ('b/trainval.json', 2, True)


def test_a_config_with_applied_folds_can_be_read_again_with_another_fold():
    cfg = config_of('a/train.json', 'a/val.json')
    apply_fold(cfg)
    before = cfg.to_dict()
    apply_fold(cfg)
    assert cfg.to_dict() == before
    cfg.fold = 0
    apply_fold(cfg)
    assert (cfg.train_dataloader.dataset.fold, cfg.val_dataloader.dataset.fold) == (0, 0)
    assert cfg.train_dataloader.dataset.ann_file == 'a/trainval.json'


def test_a_data_set_with_a_file_of_another_name_keeps_it_if_it_has_a_fold():
    cfg = config_of(dict(type='CellDataset', ann_file='cells.json', fold=0))
    apply_fold(cfg)
    assert cfg.train_dataloader.dataset == dict(type='CellDataset', ann_file='cells.json', fold=2, held_out=False)


@pytest.mark.parametrize('train, val, message', [
    ('cells.json', None, "train_dataloader.dataset.ann_file is 'cells.json'; only train.json is replaced by the "
                         'trainval.json beside it. Set train_dataloader.dataset.ann_file to the file with the folds '
                         'and train_dataloader.dataset.fold=2, or fold=None'),
    ('a/train.json', 'a/train.json', "val_dataloader.dataset.ann_file is 'a/train.json'; only val.json"),
    ('mytrain.json', None, 'only train.json is replaced'),
    (dict(type='CellDataset'), None, 'train_dataloader.dataset.ann_file is None'),
    (dict(type='CocoDataset', ann_file='train.json'), None,
     'train_dataloader.dataset has the type CocoDataset, which knows no folds')])
def test_data_sets_without_folds_are_refused(train, val, message):
    with pytest.raises(SettingError, match=message):
        apply_fold(config_of(train, val))


def test_evaluators_measure_the_same_file():
    cfg = config_of('train.json', 'val.json', val_evaluator=[
        dict(type='mmdet.CellMetric', ann_file='a/val.json'), dict(type='CellMetric'), dict(type='CocoMetric')])
    apply_fold(cfg)
    apply_fold(cfg)
    assert [evaluator.get('ann_file') for evaluator in cfg.val_evaluator] == ['a/trainval.json', None, None]
    with pytest.raises(SettingError, match=r"CocoMetric with an ann_file .* dict\(type='CellMetric'\)"):
        apply_fold(config_of('train.json', val_evaluator=dict(type='CocoMetric', ann_file='val.json')))
    with pytest.raises(SettingError, match="val_evaluator.ann_file is 'b.json'.* to the file with the folds$"):
        apply_fold(config_of('train.json', val_evaluator=dict(type='CellMetric', ann_file='b.json')))
