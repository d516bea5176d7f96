"""The config of a prediction that is made from the config inside a checkpoint."""

import json

import pytest
from mmengine.config import Config
from support.configs import load

from mmcell.checkpoints.config import CheckpointConfigError
from mmcell.checkpoints.prediction_config import make_prediction_config


@pytest.fixture
def config():
    return load('cell/mask-rcnn_r50')


def test_only_checked_parts_are_taken(config, tmp_path):
    config.merge_from_dict(dict(
        custom_hooks=[dict(type='subprocess.Popen')], test_evaluator=dict(type='subprocess.Popen'),
        test_cfg=dict(type='subprocess.Popen'), custom_imports=dict(imports=['nowhere']),
        test_dataloader=dict(sampler=dict(type='subprocess.Popen'), dataset=dict(
            ann_file='test.json', data_root=str(tmp_path), filter_cfg=dict(type='subprocess.Popen')))))
    with pytest.raises(FileNotFoundError, match=f'test images {tmp_path}/test.json, but .*--annotations'):
        make_prediction_config(config)
    (tmp_path / 'test.json').touch()
    made = make_prediction_config(config)
    assert 'Popen' not in made.pretty_text and 'nowhere' not in made.pretty_text
    assert 'init_cfg' in config.model.backbone and 'init_cfg' not in made.pretty_text
    assert made.test_dataloader.dataset == dict(
        type='CellDataset', ann_file=str(tmp_path / 'test.json'), test_mode=True, data_root=str(tmp_path),
        pipeline=config.test_dataloader.dataset.pipeline)
    assert made.custom_imports.imports == ['mmcell']
    assert make_prediction_config(config, trusted=True).custom_imports.imports == ['nowhere']
    assert made.model.rpn_head == {key: value for key, value in config.model.rpn_head.items() if key != 'init_cfg'}


@pytest.mark.parametrize('info, kept', [(dict(data_root='images'), False), ({}, True)])
def test_images_of_another_file_lie_where_it_says(config, tmp_path, info, kept):
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(info=info, images=[], categories=[dict(id=1, name='a')], annotations=[])))
    config.test_dataloader.dataset.data_prefix = dict(img='mine')
    dataset = make_prediction_config(config, path).test_dataloader.dataset
    assert dataset.ann_file == str(path) and (dataset.get('data_prefix') == dict(img='mine')) == kept


@pytest.mark.parametrize('dataset, message', [
    (dict(type='ConcatDataset', datasets=[]), "are of the type 'ConcatDataset', but only CellDataset .*tools/test.py"),
    (dict(type='RepeatDataset', dataset=dict(type='CellDataset', ann_file='x')), "type 'RepeatDataset'"),
    (dict(type='MyDataset', ann_file='x'), "type 'MyDataset'"), ({}, 'type None'),
    (dict(type='CellDataset'), 'names no test images: name an annotation file with --annotations')])
def test_data_that_are_not_predicted(dataset, message):
    config = Config(dict(model={}, test_dataloader=dict(dataset=dataset)))
    with pytest.raises(CheckpointConfigError, match=message):
        make_prediction_config(config)


def test_a_trusted_checkpoint_may_have_data_of_any_class(tmp_path):
    (tmp_path / 'x.json').touch()
    dataset = dict(type='MyDataset', ann_file=str(tmp_path / 'x.json'))
    config = Config(dict(model={}, test_dataloader=dict(dataset=dataset)))
    assert make_prediction_config(config, trusted=True).test_dataloader.dataset == {**dataset, 'test_mode': True}
