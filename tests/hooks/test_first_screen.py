from types import SimpleNamespace

import torch
from mmengine.dataset import ConcatDataset
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from support.synthetic_data import write_annotations
from torch import nn

from mmcell.datasets import CellDataset
from mmcell.framework.mixed_precision import MixedPrecisionOptimWrapper
from mmcell.hooks.first_screen import (
    MAX_CLASSES,
    TEXT_WIDTH,
    describe_data_set,
    describe_model,
    describe_precision,
    describe_repeated_bases,
    wrap_counts,
)


def rows_of(dataset):
    return list(describe_data_set('train data', SimpleNamespace(dataset=dataset)))


def test_images_and_cells_of_each_data_set_are_counted(raw_root, tmp_path):
    write_annotations(raw_root[0], tmp_path / 'a.json', ['big', 'small'])
    whole = CellDataset(ann_file=str(tmp_path / 'a.json'), channel_order='bgr')
    first = CellDataset(ann_file=str(tmp_path / 'a.json'), indices=1)
    assert rows_of(ConcatDataset([whole, first], ignore_keys='channel_order')) == [
        ('train data', f'{tmp_path}/a.json: 2 images, 4 cells, channel order bgr'), ('', 'big 3, small 1'),
        ('train data', f'{tmp_path}/a.json: 1 image, 3 cells, channel order rgb'), ('', 'big 2, small 1')]


def test_kept_images_are_counted(raw_root, tmp_path):
    init_default_scope('mmdet')
    write_annotations(raw_root[0], tmp_path / 'a.json', ['big', 'small'])
    dataset = CellDataset(ann_file=str(tmp_path / 'a.json'), pipeline=[dict(type='LoadTiff')], cache_gib=2)
    assert rows_of(dataset)[-1] == ('', '2 of 2 images fit into the cache of decoded images and cells: 1.5e-05 GiB of '
                                        '2 GiB (dataset.cache_gib)')


def test_a_second_base_in_a_config_is_told(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = ['a.py']\nmodel = dict(type='A')\nmodel = dict(type='B')\n", encoding='utf-8')
    assert list(describe_repeated_bases(str(config))) == [] == list(describe_repeated_bases(None))
    config.write_text("_base_ = ['a.py']\n_base_ = ['b.py']\n", encoding='utf-8')
    assert list(describe_repeated_bases(str(config))) == [
        ('warning', f'_base_ is assigned 2 times in {config}, but only the first counts: list all in one')]


def test_a_data_set_without_cells_is_described():
    assert rows_of([1, 2, 3]) == [('train data', 'list: 3 images')]


def test_classes_are_not_broken_and_many_of_them_are_cut():
    counts = {f'class number {index}': 1000 for index in range(MAX_CLASSES)}
    lines = wrap_counts(counts)
    assert all(line.startswith('class number') and len(line) <= TEXT_WIDTH for line in lines)
    assert ' '.join(lines).count('1,000') == MAX_CLASSES and 'more' not in lines[-1]
    assert ' '.join(wrap_counts({**counts, 'x': 1, 'y': 1})).endswith('1,000, and 2 more classes')


def test_the_model_is_looked_for_in_what_wraps_it():
    model = nn.Module()
    model.backbone = nn.Linear(2, 1)
    tiled = nn.Module()
    tiled.detector = model
    for runner_model, names in ((model, 'Module with Linear'), (tiled, 'Module with Module with Linear')):
        described = describe_model(SimpleNamespace(model=runner_model))
        assert described == f'{names}, 3 trainable parameters of 3'


def test_the_precision_is_that_of_the_optimizer_wrapper():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=.1)
    assert describe_precision(OptimWrapper(optimizer)) == 'float32'
    assert describe_precision(MixedPrecisionOptimWrapper('bfloat16', optimizer=optimizer)) == 'mixed, bfloat16'
