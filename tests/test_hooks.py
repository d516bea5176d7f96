import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from torch import nn

from mmcell.hooks import FitError, FittingCheckpointHook


def runner_with(n_model_classes, n_data_classes):
    head = nn.Linear(2, 2)
    head.num_classes = n_model_classes
    model = nn.ModuleDict({'bbox_head': head, 'rpn_head': nn.Linear(1, 1)})
    model['rpn_head'].num_classes = 1
    data = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=tuple('abcdef')[:n_data_classes])))
    return SimpleNamespace(model=model, train_dataloader=data, val_dataloader=data, test_dataloader=data, iter=0,
                           max_iters=10, param_schedulers=[], logger=logging.getLogger('test'))


@pytest.mark.parametrize('moment', ['before_train', 'before_val', 'before_test'])
def test_class_counts_are_compared(moment):
    check = getattr(HOOKS.build(dict(type='ClassCountHook')), moment)
    check(runner_with(4, 4))
    with pytest.raises(FitError, match='4 classes, the data 2 .*model.bbox_head.num_classes=2$'):
        check(runner_with(4, 2))


def test_a_resumed_schedule_that_has_ended_is_warned_of(caplog):
    hook, runner = HOOKS.build(dict(type='ClassCountHook')), runner_with(4, 4)
    runner.param_schedulers = [SimpleNamespace(last_step=10, end=5), SimpleNamespace(last_step=10, end=20)]
    runner.iter = 8
    hook.before_train(runner)
    assert not caplog.records
    runner.param_schedulers.pop()
    hook.before_train(runner)
    assert 'has ended' in caplog.text


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
