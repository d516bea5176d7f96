"""The learning rate of each step of a training, without training."""

import logging

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import BaseLoop

from mmcell.framework.console import ConsoleRunner


class Loop(BaseLoop):
    """A training loop that has a length but does nothing."""

    max_epochs = max_iters = dataloader = None

    def run(self):
        pass


def runner_with_schedule(config, steps_per_epoch):
    """Returns a runner that has nothing but the schedule, the optimizer and the length of a config."""
    max_epochs = config.train_cfg.get('max_epochs')
    max_steps = config.train_cfg.max_iters if max_epochs is None else max_epochs * steps_per_epoch
    init_default_scope('mmdet')
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner._train_loop = Loop.__new__(Loop)
    # MMEngine's iteration-based loop has one epoch.
    runner._train_loop.__dict__.update(
        max_epochs=1 if max_epochs is None else max_epochs, max_iters=max_steps, dataloader=range(steps_per_epoch))
    runner.logger = logging.getLogger('test')
    runner.optim_wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(config.param_scheduler)
    return runner


def learning_rates(config, steps_per_epoch):
    """Returns the learning rate of each step, changed as MMEngine's ParamSchedulerHook changes it."""
    runner = runner_with_schedule(config, steps_per_epoch)
    rates = []
    for step in range(1, runner.max_iters + 1):
        rates.append(runner.optim_wrapper.param_groups[0]['lr'])
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch or (config.train_cfg.get('max_epochs') and step % steps_per_epoch == 0):
                scheduler.step()
    return rates
