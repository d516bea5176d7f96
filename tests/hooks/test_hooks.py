import logging
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.structures import InstanceData
from support.synthetic_data import write_annotations
from torch import nn

from mmcell.checkpoints.content import to_plain
from mmcell.checkpoints.fit import FitError
from mmcell.checkpoints.provenance import describe_data
from mmcell.hooks import FiniteLossHook, FittingCheckpointHook, NonFiniteLossError


def runner_with(n_model_classes, n_data_classes):
    head = nn.Linear(2, 2)
    head.num_classes = n_model_classes
    model = nn.ModuleDict({'bbox_head': head, 'rpn_head': nn.Linear(1, 1)})
    model['rpn_head'].num_classes = 1
    data = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=tuple('abcdef')[:n_data_classes])))
    return SimpleNamespace(model=model, train_dataloader=data, val_dataloader=data, test_dataloader=data, iter=0,
                           max_iters=10, param_schedulers=[], logger=logging.getLogger('test'),
                           cfg=Config(dict(model=dict(type='MaskRCNN', anchors=1))))


@pytest.mark.parametrize('moment', ['before_train', 'before_val', 'before_test'])
def test_class_counts_are_compared(moment):
    check = getattr(HOOKS.build(dict(type='ClassCountHook')), moment)
    check(runner_with(4, 4))
    with pytest.raises(FitError, match='4 classes, the data 2 .*model.bbox_head.num_classes=2$'):
        check(runner_with(4, 2))


def test_the_classes_of_every_part_are_compared():
    hook, runner = HOOKS.build(dict(type='ClassCountHook')), runner_with(2, 2)
    runner.train_dataloader.dataset.metainfo = [dict(classes=('a', 'b'))] * 2
    hook.before_train(runner)
    runner.train_dataloader.dataset.metainfo = [dict(classes=('a', 'b')), dict(classes=('a',))]
    with pytest.raises(FitError, match='2 classes, the data 1'):
        hook.before_train(runner)


def test_a_checkpoint_must_fit_the_model():
    runner = runner_with(4, 4)
    state = runner.model.state_dict()
    hook = FittingCheckpointHook()
    hook.after_load_checkpoint(runner, dict(state_dict=state))
    hook.after_load_checkpoint(runner, dict(state_dict={f'module.{name}': value for name, value in state.items()}))
    for wrong in ({**state, 'bbox_head.weight': torch.zeros(3, 2)},
                  {name: value for name, value in state.items() if name != 'bbox_head.weight'}):
        with pytest.raises(FitError, match='1 of 4 weights differ: bbox_head.weight'):
            hook.after_load_checkpoint(runner, dict(state_dict=wrong))


def test_other_data_than_those_of_the_training_are_warned_of(raw_root, tmp_path, caplog):
    write_annotations(raw_root[0], tmp_path / 'a.json', ['a', 'b'])
    dataset = DATASETS.build(dict(type='CellDataset', ann_file=str(tmp_path / 'a.json'), pipeline=[]))
    runner = runner_with(4, 4)
    runner.test_dataloader = SimpleNamespace(dataset=dataset)
    checkpoint = dict(state_dict=runner.model.state_dict(), meta=dict(mmcell=dict(data=dict(train=[], val=[]))))
    FittingCheckpointHook('val').after_load_checkpoint(runner, checkpoint)
    assert not caplog.records
    checkpoint['meta']['mmcell']['data']['train'] = describe_data(dataset)
    FittingCheckpointHook('val').after_load_checkpoint(runner, checkpoint)
    assert '2 of the 2 images tested were in the training data' in caplog.text


def test_weights_that_mean_something_else_or_have_no_place_are_refused():
    runner = runner_with(4, 4)
    state = runner.model.state_dict()
    with pytest.raises(FitError, match='1 of its 5 weights have no place in the model: bbox_head.cbam'):
        FittingCheckpointHook().after_load_checkpoint(
            runner, dict(state_dict={**state, 'bbox_head.cbam': torch.zeros(1)}))
    meta = dict(cfg="model = dict(type='MaskRCNN', anchors=2)")
    with pytest.raises(FitError, match=r'another meaning: model.anchors \(2 there, 1 here\)'):
        FittingCheckpointHook().after_load_checkpoint(runner, dict(state_dict=state, meta=meta))


@pytest.mark.parametrize('checkpoint, message', [
    (dict(state_dict=[1]), 'has a list where its weights should be'),
    (dict(state_dict={'a': 1}), '4 of 4 weights differ'),
])
def test_what_holds_no_weights_is_refused(checkpoint, message):
    with pytest.raises(FitError, match=message):
        FittingCheckpointHook().after_load_checkpoint(runner_with(4, 4), checkpoint)


def test_a_record_that_cannot_be_read_is_said(caplog):
    runner = runner_with(4, 4)
    FittingCheckpointHook().after_load_checkpoint(
        runner, dict(state_dict=runner.model.state_dict(), meta=dict(mmcell='x')))
    assert 'cannot be read' in caplog.text


@pytest.mark.parametrize('norm, scaled, stops', [(1., False, False), (math.inf, False, True), (math.inf, True, False)])
def test_a_gradient_that_is_not_finite_stops_the_training_unless_losses_are_scaled(tmp_path, norm, scaled, stops):
    runner = SimpleNamespace(
        iter=4, log_dir=str(tmp_path),
        message_hub=SimpleNamespace(log_scalars={'train/grad_norm': HistoryBuffer([1., norm], [1, 1])}),
        optim_wrapper=SimpleNamespace(loss_scaler=SimpleNamespace(is_enabled=lambda: scaled)))
    sample = DetDataSample(metainfo=dict(img_path='x.tif'), gt_instances=InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=int)))
    batch = dict(inputs=[torch.zeros(3, 8, 8, dtype=torch.uint8)], data_samples=[sample])
    check = partial(FiniteLossHook().after_train_iter, runner, 0, batch, dict(loss=torch.tensor(2.)))
    if not stops:
        return check()
    with pytest.raises(NonFiniteLossError, match='step 5: grad_norm is inf. Images of the batch: x.tif'):
        check()


def test_early_stopping_continues_to_count_after_a_resume():
    message_hub = MessageHub.get_instance('early stopping')
    values = iter([.3, .2, .25, .1])

    def run(n_validations):
        hook = HOOKS.build(dict(type='CellEarlyStoppingHook', monitor='AP50', rule='greater', patience=3, min_delta=0.))
        runner = SimpleNamespace(message_hub=message_hub, logger=logging.getLogger('test'),
                                 train_loop=SimpleNamespace(stop_training=False))
        hook.before_run(runner)
        hook.before_train(runner)
        for _ in range(n_validations):
            hook.after_val_epoch(runner, dict(AP50=next(values)))
        # A checkpoint stores the message hub in this form.
        message_hub.load_state_dict(to_plain(message_hub.state_dict()))
        return runner.train_loop.stop_training
    assert not run(2)
    assert not run(1)
    assert run(1)
