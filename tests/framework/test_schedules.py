"""Schedules in shares of the training: the learning rate of every step is compared with a formula."""

import math
import shutil

import pytest
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.hooks import Hook
from support.commands import read_log
from support.schedules import learning_rates, runner_with_schedule
from support.toy_runner import train

from mmcell.framework.schedules import ScheduleError
from mmcell.hooks.first_screen import describe_unfinished_schedule

WARM_UP_AND_COSINE = [dict(type='LinearLRByShare', start_factor=.001, end_share=.25, by_epoch=False),
                      dict(type='CosineAnnealingLRByShare', begin_share=.25, by_epoch=False)]
STEPS = [dict(type='MultiStepLRByShare', milestone_shares=[.8, .9], gamma=.1, by_epoch=False)]
STEPS_PER_EPOCH = 7


def warm_up_and_cosine(step, n_steps):
    """The rate as a proportion of the full rate: linear from .001 to 1, then a cosine from 1 to 0."""
    start = round(n_steps / 4)
    if step < start:
        return .001 + .999 * step / (start - 1) if start > 1 else 1
    return (1 + math.cos(math.pi * (step - start) / (n_steps - start))) / 2


def two_steps(step, n_steps):
    return .1 ** sum(step >= round(share * n_steps) for share in (.8, .9))


def config_of(param_scheduler, epochs=None, steps=None):
    train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps) if epochs is None else dict(max_epochs=epochs)
    return Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=.5)), param_scheduler=param_scheduler,
                       train_cfg=train_cfg))


@pytest.mark.parametrize('param_scheduler, formula', [(WARM_UP_AND_COSINE, warm_up_and_cosine), (STEPS, two_steps)])
@pytest.mark.parametrize('length', [*(dict(epochs=n) for n in (1, 2, 3, 5, 10, 15, 30)),
                                    *(dict(steps=n) for n in (1, 2, 3, 4, 5, 9, 1000))], ids=str)
def test_the_rate_of_each_step_follows_the_length(param_scheduler, formula, length):
    rates = learning_rates(config_of(param_scheduler, **length), STEPS_PER_EPOCH)
    assert len(rates) == length.get('steps', length.get('epochs', 0) * STEPS_PER_EPOCH)
    assert rates == pytest.approx([.5 * formula(step, len(rates)) for step in range(len(rates))])


def test_shares_give_exactly_the_rates_of_steps():
    in_epochs = [dict(type='LinearLR', start_factor=.001, begin=0, end=15, convert_to_iter_based=True),
                 dict(type='CosineAnnealingLR', begin=15, convert_to_iter_based=True)]
    for shares, fixed, epochs in ((WARM_UP_AND_COSINE, in_epochs, 60),
                                  (STEPS, [dict(type='MultiStepLR', milestones=[80, 90])], 100)):
        for steps_per_epoch in (7, 84, 167):
            assert learning_rates(config_of(shares, epochs), steps_per_epoch) == learning_rates(
                config_of(fixed, epochs), steps_per_epoch)


def test_a_share_without_a_step_changes_nothing():
    tail = [dict(type='CosineAnnealingLRByShare', begin_share=.95, by_epoch=False)]
    assert learning_rates(config_of(tail, steps=4), 4) == [.5] * 4
    head = [dict(type='LinearLRByShare', start_factor=.001, end_share=.25, by_epoch=False)]
    assert learning_rates(config_of(head, steps=4), 4) == [.5] * 4


@pytest.mark.parametrize('scheduler, message', [
    (dict(type='LinearLRByShare', end_share=.25), 'by_epoch=False'),
    (dict(type='LinearLRByShare', end_share=.25, convert_to_iter_based=True), 'by_epoch=False'),
    (dict(type='MultiStepLRByShare', milestone_shares=[.5], convert_to_iter_based=True), 'by_epoch=False'),
    (dict(type='LinearLRByShare', end_share=25, by_epoch=False), 'end_share=25'),
    (dict(type='CosineAnnealingLRByShare', begin_share=-1, by_epoch=False), 'begin_share=-1'),
    (dict(type='CosineAnnealingLRByShare', begin=15, by_epoch=False), 'in place of begin'),
    (dict(type='CosineAnnealingLRByShare', T_max=15, by_epoch=False), 'in place of T_max'),
    (dict(type='MultiStepLRByShare', milestone_shares=[80], by_epoch=False), r'got \[80\]')])
def test_arguments_that_are_no_shares_are_refused(scheduler, message):
    with pytest.raises(ScheduleError, match=message):
        learning_rates(config_of([scheduler], epochs=4), 4)


@pytest.mark.parametrize('scheduler, epochs', [
    (dict(type='CosineAnnealingLR', begin=15, convert_to_iter_based=True), 15),
    (dict(type='LinearLR', begin=5, end=5), 15), (dict(type='CosineAnnealingLR'), 0)])
def test_a_part_in_epochs_that_begins_after_the_end_is_named(scheduler, epochs):
    with pytest.raises(ScheduleError, match=f'training of {epochs} epochs and {4 * epochs} steps: end should be'):
        learning_rates(config_of([scheduler], epochs), 4)


@pytest.mark.parametrize('scheduler, length, expected', [
    (dict(type='LinearLR', start_factor=.1, by_epoch=False, end=50), dict(steps=50),
     [('warm-up', 'takes 50 steps, the whole training 50: give')]),
    (dict(type='LinearLR', start_factor=.1, by_epoch=False, end=1000), dict(epochs=2),
     [('warm-up', 'takes 1,000 steps, the whole training 8: give')]),
    (dict(type='LinearLR', start_factor=.1, end=1, convert_to_iter_based=True), dict(epochs=1),
     [('warm-up', 'takes 4 steps, the whole training 4: give')]),
    (dict(type='ConstantLR', factor=.1, end=3), dict(epochs=3), [('warm-up', 'takes 3 epochs, the whole training 3')]),
    (dict(type='LinearLR', start_factor=.1, by_epoch=False, end=50), dict(steps=51), []),
    (dict(type='LinearLR', start_factor=1., end_factor=.1), dict(epochs=5), []),
    (dict(type='CosineAnnealingLR'), dict(epochs=5), []),
    (dict(type='MultiStepLR', milestones=[4, 80, 90]), dict(epochs=10),
     [('schedule', 'the learning rate would change at epoch 80, 90, but the training has 10;')]),
    (STEPS[0], dict(steps=1), []), (WARM_UP_AND_COSINE[0], dict(steps=1), [])])
def test_parts_that_the_training_is_too_short_for_are_described(scheduler, length, expected):
    rows = list(describe_unfinished_schedule(runner_with_schedule(config_of([scheduler], **length), 4)))
    assert [label for label, _ in rows] == [label for label, _ in expected]
    assert all(text.startswith(start) for (_, text), (_, start) in zip(rows, expected, strict=True))


class RateRecorder(Hook):
    """Records the learning rate of each step."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.param_groups[0]['lr'])


HOOKS.register_module(module=RateRecorder)


@pytest.fixture
def rates_of(annotation_file, tmp_path):
    """A function that trains a toy model at the rate .5 and returns the rates of its steps, five steps per epoch."""

    def train_toy(**settings):
        runner = train(annotation_file, tmp_path / 'run', optim_wrapper__optimizer=dict(type='SGD', lr=.5),
                       custom_hooks=[dict(type='StepSeedHook'), dict(type='RateRecorder')],
                       **settings)
        return next(hook.rates for hook in runner.hooks if isinstance(hook, RateRecorder))

    return train_toy


BY_ITERATION = dict(
    train_dataloader__sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    default_hooks__checkpoint=dict(type='CellCheckpointHook', by_epoch=False, interval=5, max_keep_ckpts=-1))
SCHEDULES = [WARM_UP_AND_COSINE, STEPS, [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]]


@pytest.mark.parametrize('param_scheduler', SCHEDULES)
def test_a_resumed_training_has_the_rates_of_an_uninterrupted_one(rates_of, tmp_path, param_scheduler):
    whole = rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=4)
    resumed = rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=4, resume=True,
                       load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    assert resumed == whole[10:]


@pytest.mark.parametrize('n_epochs', [3, 5])
@pytest.mark.parametrize('param_scheduler', SCHEDULES)
def test_a_training_that_is_resumed_with_another_length_follows_it(
        rates_of, tmp_path, param_scheduler, n_epochs):
    rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=4)
    resumed = rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=n_epochs, resume=True,
                       load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    whole = learning_rates(config_of(param_scheduler, n_epochs), 5)
    assert resumed == whole[10:]
    assert f'another length than at the checkpoint: the learning rate continues at {whole[10]:.3g},' in read_log(
        tmp_path / 'run')


def test_an_iteration_based_training_is_resumed_with_another_length(rates_of, tmp_path):
    settings = dict(param_scheduler=WARM_UP_AND_COSINE, **BY_ITERATION)
    rates_of(train_cfg=dict(type='IterBasedTrainLoop', max_iters=10), **settings)
    resumed = rates_of(train_cfg=dict(type='IterBasedTrainLoop', max_iters=12), resume=True,
                       load_from=str(tmp_path / 'run' / 'iter_5.pth'), **settings)
    assert resumed == learning_rates(config_of(WARM_UP_AND_COSINE, steps=12), 5)[5:]


def test_a_schedule_in_steps_is_resumed_as_it_was(rates_of, tmp_path):
    for param_scheduler in ([dict(type='LinearLR', start_factor=.1, by_epoch=False, end=12)], [], None):
        whole = rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=3)
        resumed = rates_of(param_scheduler=param_scheduler, train_cfg__max_epochs=4, resume=True,
                           load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
        assert resumed == [*whole[10:], *whole[-1:] * 5]
        assert 'another length' not in read_log(tmp_path / 'run')
        shutil.rmtree(tmp_path / 'run')


def test_a_training_that_is_resumed_with_larger_batches_ends_with_its_schedule(rates_of, tmp_path):
    settings = dict(param_scheduler=WARM_UP_AND_COSINE, train_cfg__max_epochs=4)
    rates_of(**settings)
    resumed = rates_of(resume=True, load_from=str(tmp_path / 'run' / 'epoch_2.pth'), train_dataloader__batch_size=4,
                       **settings)
    assert resumed == learning_rates(config_of(WARM_UP_AND_COSINE, 4), 3)[6:]
