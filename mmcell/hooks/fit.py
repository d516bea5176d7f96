"""Hooks that stop a run whose parts do not fit together."""

import re
from collections.abc import Sequence

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmcell.checkpoints.provenance import compare_data, describe_data
from mmcell.errors import MmcellError

MAX_LISTED = 5


class FitError(MmcellError):
    """Model, data and checkpoint do not belong together."""


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Compares the number of classes of the model's heads with the data, before training, validation and testing.

    MMDetection's ``NumClassCheckHook`` does not look at test data, and does not say which settings to change.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the training data; warns where a resumed schedule has already ended."""
        self._check(runner, runner.train_dataloader.dataset)
        schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
        has_ended = schedulers and all(scheduler.last_step >= scheduler.end for scheduler in schedulers)
        if runner.iter and runner.iter < runner.max_iters and has_ended:
            runner.logger.warning(
                'The learning-rate schedule that was resumed has ended: training goes on at its last value. To train '
                'longer with a schedule of its own, start anew with --cfg-options load_from=CHECKPOINT')

    def before_val(self, runner: Runner) -> None:
        """Checks the validation data."""
        self._check(runner, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Checks the test data."""
        self._check(runner, runner.test_dataloader.dataset)

    def _check(self, runner: Runner, dataset: object) -> None:
        # MMDetection's ConcatDataset has one metainfo for each of its parts where these differ.
        parts = dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]
        for metainfo in parts:
            refuse_other_classes(runner.model, metainfo['classes'])


def refuse_other_classes(model: nn.Module, classes: Sequence[str]) -> None:
    """Compares the number of classes of a model's heads with the names of the classes.

    Raises:
        FitError: a head has another number.
    """
    wrong = {name: module.num_classes for name, module in model.named_modules()
             if hasattr(module, 'num_classes') and not name.endswith('rpn_head')
             and module.num_classes != len(classes)}
    if wrong:
        options = ' '.join(f"model.{without_wrappers(name)}.num_classes={len(classes)}" for name in wrong)
        raise FitError(f'the model has {next(iter(wrong.values()))} classes, the data {len(classes)} '
                       f'({", ".join(classes)}): --cfg-options {options}')


def without_wrappers(name: str) -> str:
    """The name of a weight or part in the model itself: DDP and test-time augmentation each put module. before it."""
    return re.sub(r'^(module\.)+', '', name)


class FittingCheckpointHook(Hook):
    """Refuses a checkpoint without every weight of the model in its shape, and warns where the data differ; for tests.

    mmengine logs mismatches and goes on with random weights, which is right for starting a training alone.

    Args:
        split: 'val' or 'test', what is tested.
    """

    priority = 'LOWEST'

    def __init__(self, split: str = 'test') -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the state dict with the model, and what mmcell recorded of the training data with the test data.

        Raises:
            FitError: a weight is missing or has another shape.
        """
        refuse_other_weights(runner.model, checkpoint)
        meta = checkpoint.get('meta')
        if not isinstance(meta, dict) or 'mmcell' not in meta:
            return
        tested = describe_data(runner.test_dataloader.dataset)
        try:
            warnings = compare_data(meta['mmcell']['data'], tested, self.split)
        except (KeyError, TypeError, AttributeError) as error:
            warnings = [f'what the checkpoint says of its training data cannot be read: {error!r}']
        for warning in warnings:
            runner.logger.warning(warning)


def refuse_other_weights(model: nn.Module, checkpoint: dict) -> None:
    """Compares a checkpoint with a model, weight by weight.

    Raises:
        FitError: a weight of the model is missing or has another shape.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict):
        raise FitError(f'the checkpoint has a {type(state).__name__} where its weights should be')
    shapes = {without_wrappers(name): tuple(value.shape) for name, value in state.items()
              if isinstance(value, torch.Tensor)}
    wanted = {without_wrappers(name): tuple(value.shape) for name, value in model.state_dict().items()}
    wrong = [f'{name} {shapes.get(name, "missing")}, model {shape}'
             for name, shape in wanted.items() if shapes.get(name) != shape]
    if wrong:
        raise FitError(
            f'the checkpoint is of another model than the config: {len(wrong)} of {len(wanted)} weights differ: '
            + '; '.join(wrong[:MAX_LISTED]) + (' …' if len(wrong) > MAX_LISTED else ''))
