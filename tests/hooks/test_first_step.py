"""What does not suit the model is said in one line at the first step, in trainings and tests."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.models.necks import FPN
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from support.toy_runner import ToyModel, toy_config
from torch import nn

from mmcell.checkpoints.fit import FitError
from mmcell.framework.console import ConsoleRunner
from mmcell.hooks.first_step import compare_channels_once, refuse_unpacked
from mmcell.visualization.visualizer import CellVisualizer

META = dict(img_id=1, img_path='a.tif', ori_shape=(4, 5), img_shape=(4, 5), scale_factor=(1., 1.))


def batch(*missing):
    sample = DetDataSample(metainfo={key: value for key, value in META.items() if key not in missing})
    return dict(inputs=[torch.zeros(3, 4, 5)], data_samples=[sample])


@pytest.mark.parametrize('key', ['img_id', 'ori_shape', 'img_shape', 'scale_factor'])
@pytest.mark.parametrize('loop', ['val', 'test'])
def test_missing_meta_information_is_named(loop, key):
    check = getattr(HOOKS.build(dict(type='FirstStepHook')), f'before_{loop}_iter')
    check(None, 0, batch())
    with pytest.raises(FitError, match=rf'samples of {loop}_dataloader.dataset.pipeline have no {key}: .*meta_keys'):
        check(None, 0, batch(key))
    check(None, 1, batch(key))


def test_views_of_an_image_are_looked_at_and_training_needs_less():
    data = batch('img_id')
    data['data_samples'] = [data['data_samples'] * 2]
    with pytest.raises(FitError, match='have no img_id'):
        refuse_unpacked(data, 'test_dataloader', ('img_id',))
    HOOKS.build(dict(type='FirstStepHook')).before_train_iter(None, 0, batch('img_id', 'scale_factor', 'img_path'))


def test_a_picture_needs_id_and_path():
    CellVisualizer.get_instance('a picture needs id and path')
    hook = HOOKS.build(dict(type='CellVisualizationHook', draw=True))
    for key in ('img_id', 'img_path'):
        sample = batch(key)['data_samples'][0]
        with pytest.raises(FitError, match=f'test_dataloader.dataset.pipeline have no {key}'):
            hook.after_test_iter(None, 0, {}, [sample])
        with pytest.raises(FitError, match=f'val_dataloader.dataset.pipeline have no {key}'):
            hook.after_val_iter(SimpleNamespace(iter=0), 0, {}, [sample])


def test_a_pipeline_that_does_not_pack_stops_a_training(annotation_file, tmp_path):
    cfg = toy_config(annotation_file, tmp_path / 'work')
    del cfg.train_dataloader.dataset.pipeline[-1]
    with pytest.raises(FitError, match=r"train_dataloader.dataset.pipeline does not pack .*img_path.*type='PackCell"):
        ConsoleRunner.from_cfg(cfg).train()


class Model(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.neck = FPN(in_channels, 4, 3)


@pytest.mark.parametrize('wrap', [lambda model: model, lambda model: nn.ModuleDict({'module': model})])
def test_other_channels_than_those_of_the_backbone_are_refused(wrap):
    features = (torch.zeros(1, 8, 4, 4), torch.zeros(1, 16, 2, 2))
    for in_channels, fits in (([8, 16], True), ([16, 8], False), ([8, 16, 32], False)):
        model = Model(in_channels)
        compare_channels_once(wrap(model))
        if fits:
            assert len(model.neck(features)) == len(model.neck(features)) == 3
            assert not model.neck._forward_pre_hooks
        else:
            with pytest.raises(FitError, match=r'model.neck.in_channels is .*gives features of \[8, 16\] channels'):
                model.neck(features)


def test_a_fitting_training_is_not_stopped(annotation_file, tmp_path):
    runner = ConsoleRunner.from_cfg(toy_config(annotation_file, tmp_path / 'work', train_cfg__max_epochs=1))
    runner.train()
    assert isinstance(runner.model, ToyModel) and runner.iter == 5
