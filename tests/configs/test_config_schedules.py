"""The schedule of every config follows the length of the training: all its rates are compared with a formula."""

import math

import pytest
from support.configs import EXPERIMENTS, load
from support.schedules import learning_rates

# Few, so that the whole length of a training has some hundred steps.
STEPS_PER_EPOCH = 7


def quarter_and_cosine(step, n_steps):
    start = round(n_steps / 4)
    if step < start:
        return rise(.001, step, start)
    return cosine(step - start, n_steps - start)


def first_epoch_and_cosine(step, n_steps):
    return rise(.01, step, STEPS_PER_EPOCH) * cosine(step, n_steps)


def fifty_steps_and_cosine(step, n_steps):
    return rise(.01, step, 50) * cosine(step, n_steps)


def hundred_steps_and_cosine(step, n_steps):
    return rise(.01, step, 100) * cosine(step, n_steps)


def steps_at_80_and_90_percent(step, n_steps):
    return .1 ** sum(step >= round(share * n_steps) for share in (.8, .9))


def thousand_steps(step, n_steps):
    return rise(.001, step, 1000)


def constant(step, n_steps):
    return 1


def rise(start, step, n_steps):
    """From start to 1, which the last of the steps has."""
    return 1 if step >= n_steps - 1 else start + (1 - start) * step / (n_steps - 1)


def cosine(step, n_steps):
    return (1 + math.cos(math.pi * step / n_steps)) / 2


def formula_of(name):
    if name.startswith('voc/'):
        return thousand_steps
    if 'light' in name:
        return hundred_steps_and_cosine
    if 'fpn-bn' in name:
        return quarter_and_cosine
    if '-anchors' in name or 'constant-lr' in name:
        return constant
    if 'tv-v2' in name and '30e' not in name:
        return steps_at_80_and_90_percent
    return fifty_steps_and_cosine if 'demo' in name else first_epoch_and_cosine


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_the_rate_of_each_step(name):
    config = load(name)
    # The wrapper has no influence on the rate, and mixed precision needs a device for it.
    config.optim_wrapper.type = 'OptimWrapper'
    config.optim_wrapper.pop('dtype', None)
    rate, formula = config.optim_wrapper.optimizer.lr, formula_of(name)
    lengths = (1, 2, 600, 1500) if 'max_iters' in config.train_cfg else (1, 2, 3, 5, 10, 15, 30, 60)
    for length in lengths:
        config.train_cfg['max_iters' if 'max_iters' in config.train_cfg else 'max_epochs'] = length
        rates = learning_rates(config, STEPS_PER_EPOCH)
        assert rates == pytest.approx([rate * formula(step, len(rates)) for step in range(len(rates))])


@pytest.mark.parametrize('name', ['cell/mask-rcnn_r50_fpn-bn', 'cell/mask-rcnn_r50_tv-v2'])
@pytest.mark.parametrize('n_steps', [1, 2, 3, 84, 1001])
def test_the_schedule_in_an_iteration_based_training(name, n_steps):
    config = load(name)
    config.optim_wrapper.type = 'OptimWrapper'
    config.optim_wrapper.pop('dtype', None)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=n_steps)
    rate, formula = config.optim_wrapper.optimizer.lr, formula_of(name)
    assert learning_rates(config, STEPS_PER_EPOCH) == pytest.approx(
        [rate * formula(step, n_steps) for step in range(n_steps)])
