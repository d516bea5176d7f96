"""Checkpoint, training data, validation data and test data agree on the meaning of a label."""

import json
import logging
from types import SimpleNamespace

import pytest
from mmdet.datasets import ConcatDataset
from mmdet.registry import DATASETS, HOOKS
from mmengine.evaluator import Evaluator
from support.synthetic_data import write_annotations
from torch import nn

from mmcell.classes.matching import ClassesError
from mmcell.datasets.colors import ColorError


@pytest.fixture
def data(raw_root, tmp_path):
    """Builds a data set of the two training images whose annotation file lists the classes in the given order."""
    def build(*names, ids=(1, 2), **settings):
        path = tmp_path / f'{"-".join(names)}{ids}.json'
        write_annotations(raw_root[0], path, ['big', 'small'])
        document = json.loads(path.read_text())
        number = dict(zip(('big', 'small'), ids, strict=True))
        document['categories'] = [dict(id=number.get(name, 99), name=name) for name in names]
        for annotation in document['annotations']:
            annotation['category_id'] = ids[annotation['category_id'] - 1]
        path.write_text(json.dumps(document))
        return DATASETS.build(dict(type='CellDataset', ann_file=str(path), pipeline=[], **settings))
    return build


def runner_of(train=None, val=None, test=None, resume=False):
    """Returns what the hook needs of a runner; loops that are not built yet are dicts."""
    loops = {name: dict(type='Loop') if dataset is None else SimpleNamespace(
        dataloader=SimpleNamespace(dataset=dataset), **({} if name == 'train' else dict(evaluator=Evaluator([]))))
        for name, dataset in (('train', train), ('val', val), ('test', test))}
    return SimpleNamespace(
        model=nn.Identity(), visualizer=SimpleNamespace(), cfg=dict(load_from='model.pth'), _resume=resume, iter=0,
        logger=logging.getLogger('test'), param_schedulers=[], train_loop=loops['train'],
        val_loop=None if val is None else loops['val'], **{f'_{name}_loop': loop for name, loop in loops.items()},
        **{f'{name}_dataloader': SimpleNamespace(dataset=dataset)
           for name, dataset in (('train', train), ('test', test))})


def checkpoint_of(*names, key='classes'):
    return dict(meta=dict(dataset_meta={key: names}), state_dict={})


def names_of_cells(dataset):
    names = dataset.metainfo['classes']
    return [[names[instance['bbox_label']] for instance in dataset.get_data_info(i)['instances']] for i in range(2)]


EXPECTED = [['big', 'big', 'small'], ['big']]


@pytest.fixture
def hook():
    return HOOKS.build(dict(type='ClassCountHook'))


@pytest.mark.parametrize('ids', [(1, 2), (20, 10)])
def test_validation_data_get_the_order_of_the_training_data(data, hook, ids):
    train, val = data('small', 'big'), data('big', 'small', ids=ids)
    runner = runner_of(train, val)
    hook.before_train(runner)
    assert val.metainfo['classes'] == train.metainfo['classes'] == ('small', 'big')
    assert names_of_cells(val) == names_of_cells(train) == EXPECTED
    assert val.cat_ids == [ids[1], ids[0]]
    assert runner.visualizer.dataset_meta['classes'] == ('small', 'big')


def test_a_stock_metric_that_goes_by_the_order_of_the_file_is_refused(data, hook):
    runner = runner_of(data('small', 'big'), data('small', 'big', ids=(3, 4)))
    runner.val_loop.evaluator = Evaluator([dict(type='mmdet.CocoMetric')])
    hook.before_train(runner)
    runner.val_loop.dataloader.dataset = data('big', 'small')
    with pytest.raises(ClassesError, match=r"order of .*big-small.*labels are \['small', 'big'\].*CellMetric"):
        hook.before_train(runner)


def test_joined_training_data_get_the_order_of_the_first(data, hook):
    first, second = data('big', 'small'), data('small', 'big', ids=(10, 20))
    hook.before_train(runner_of(ConcatDataset([first, second])))
    assert second.metainfo['classes'] == ('big', 'small') and names_of_cells(second) == EXPECTED


@pytest.mark.parametrize('loop, resume', [('test', False), ('train', True), ('train', False)])
@pytest.mark.parametrize('key', ['classes', 'CLASSES'])
def test_data_get_the_order_of_the_checkpoint(data, hook, loop, resume, key):
    dataset = data('big', 'small')
    hook.after_load_checkpoint(runner_of(**{loop: dataset}, resume=resume), checkpoint_of('small', 'big', key=key))
    assert dataset.metainfo['classes'] == ('small', 'big') and names_of_cells(dataset) == EXPECTED


def test_a_fine_tuning_brings_its_validation_data_along(data, hook):
    train, val = data('big', 'small'), data('big', 'small', ids=(5, 6))
    runner = runner_of(train, val)
    hook.after_load_checkpoint(runner, checkpoint_of('small', 'big'))
    hook.before_train(runner)
    assert val.metainfo['classes'] == ('small', 'big') and names_of_cells(val) == EXPECTED


@pytest.mark.parametrize('names, message', [
    (('big',), "only in .*json: 'small'"), (('big', 'small', 'x'), "only in the checkpoint model.pth: 'x'"),
    (('big', 'tiny'), "'tiny'.*'small'"), (('big', 'Small'), 'differ only in case')])
@pytest.mark.parametrize('loop, resume', [('test', False), ('train', True)])
def test_other_classes_than_those_of_the_checkpoint_are_refused(data, hook, names, message, loop, resume):
    with pytest.raises(ClassesError, match=message):
        hook.after_load_checkpoint(runner_of(**{loop: data('big', 'small')}, resume=resume), checkpoint_of(*names))


def test_a_fine_tuning_on_other_classes_is_warned_of_if_the_heads_fit(data, hook, caplog):
    dataset = data('big', 'small')
    hook.after_load_checkpoint(runner_of(dataset), checkpoint_of('person', 'dog', 'cat'))
    assert not caplog.records
    hook.after_load_checkpoint(runner_of(dataset), checkpoint_of('person', 'dog'))
    assert "trained on the classes ['person', 'dog'], the data have ['big', 'small']" in caplog.text
    with pytest.raises(ClassesError, match='differ only in case'):
        hook.after_load_checkpoint(runner_of(dataset), checkpoint_of('big ', 'small'))
    assert dataset.metainfo['classes'] == ('big', 'small')


@pytest.mark.parametrize('checkpoint', [
    {}, dict(meta=None), dict(meta={}), dict(meta=dict(dataset_meta=7)), dict(meta=dict(dataset_meta=dict(classes=3)))])
def test_a_checkpoint_without_names_is_taken_as_it_is_and_a_test_says_so(data, hook, caplog, checkpoint):
    dataset = data('small', 'big')
    hook.after_load_checkpoint(runner_of(dataset), checkpoint)
    assert not caplog.records
    hook.after_load_checkpoint(runner_of(test=dataset), checkpoint)
    assert 'does not name its classes: they are taken to be those of the data, in this order: small, big' in caplog.text


def test_names_of_joined_data_in_a_checkpoint_are_read(data, hook):
    dataset = data('big', 'small')
    checkpoint = dict(meta=dict(dataset_meta=[dict(classes=('small', 'big')), dict(classes=('small', 'big'))]))
    hook.after_load_checkpoint(runner_of(test=dataset), checkpoint)
    assert dataset.metainfo['classes'] == ('small', 'big')


@pytest.mark.parametrize('moment', ['before_train', 'before_test'])
def test_swapped_colours_stop_a_run_of_any_runner(data, hook, moment):
    runner = runner_of(data('big', 'small'), test=data('big', 'small'))
    pipeline = dict(dataset=dict(pipeline=[dict(type='LoadTiff')]))
    runner.cfg = dict(model=dict(data_preprocessor=dict(bgr_to_rgb=True)), test_dataloader=pipeline)
    with pytest.raises(ColorError, match='bgr_to_rgb=False'):
        getattr(hook, moment)(runner)
