"""Hooks that stop a run whose parts do not fit together."""

from collections.abc import Iterator
from difflib import get_close_matches

from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import BaseLoop, Runner

from mmcell.checkpoints.fit import (
    FitError,
    count_fitting_weights,
    refuse_other_classes,
    refuse_other_model,
    refuse_other_weights,
)
from mmcell.checkpoints.provenance import compare_data, describe_data
from mmcell.checkpoints.records import content_of
from mmcell.framework.safe_loading import WeightsError


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Compares the number of classes of the model's heads with the data, before training, validation and testing.

    MMDetection's ``NumClassCheckHook`` does not look at test data, and does not say which settings to change.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the training data."""
        self._check(runner, runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Checks the validation data."""
        self._check(runner, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Checks the test data."""
        self._check(runner, runner.test_dataloader.dataset)

    def _check(self, runner: Runner, dataset: object) -> None:
        # MMDetection's ConcatDataset has one metainfo per part if the parts differ.
        parts = dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]
        for metainfo in parts:
            refuse_other_classes(runner.model, metainfo['classes'])


@HOOKS.register_module()
class WatchedValueHook(Hook):
    """Stops before a training that watches a validation value which its metrics do not give.

    ``save_best`` of ``CheckpointHook`` and ``monitor`` of ``EarlyStoppingHook`` and ``ReduceOnPlateau`` name the value.
    MMEngine finds a wrong name after the first validation, and for ``ReduceOnPlateau`` never. Names are compared if
    every metric says which values it gives, in the attribute ``value_names`` as ``CellMetric`` does.
    """

    def before_train(self, runner: Runner) -> None:
        """Compares the names.

        Raises:
            FitError: A name is not among the values of the validation, or there is no validation to stop early by.
        """
        if runner.val_loop is None:
            early = [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
            if early:
                raise FitError(f'{type(early[0]).__name__} stops a training by a validation, but the config has none: '
                               'set val_dataloader, val_cfg and val_evaluator, or remove the hook')
            return
        metrics = runner.val_loop.evaluator.metrics
        if not all(hasattr(metric, 'value_names') for metric in metrics):
            return
        known = [f'{metric.prefix}/{name}' if metric.prefix else name
                 for metric in metrics for name in metric.value_names]
        for setting, name in self._watched(runner):
            if name not in [*known, 'auto']:
                near = get_close_matches(name, known, 1, cutoff=.4)
                raise FitError(f'{setting} is {name!r}, but the validation gives {", ".join(known)}'
                               + (f': did you mean {near[0]!r}?' if near else ''))

    @staticmethod
    def _watched(runner: Runner) -> Iterator[tuple[str, str]]:
        """Yields the name of a setting and the name of the value that it watches."""
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                yield from (('save_best', name) for name in hook.save_best or ())
            elif isinstance(hook, EarlyStoppingHook):
                yield f'monitor of {type(hook).__name__}', hook.monitor
        schedulers = runner.param_schedulers
        for part in schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]:
            yield from ((f'monitor of {type(scheduler).__name__}', scheduler.monitor)
                        for scheduler in part if hasattr(scheduler, 'monitor'))


@HOOKS.register_module()
class StartingCheckpointHook(Hook):
    """Refuses to start or continue a training from a checkpoint that does not fit the model.

    Without it, MMEngine trains with random weights in place of weights that do not fit, and finds another model at
    ``--resume`` when it loads the state of the optimizer. The hook comes before MMEngine's ``EMAHook``, which reads the
    checkpoint, too.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the checkpoint with the model, and logs how many weights of ``load_from`` have a place in it.

        Raises:
            FitError: The checkpoint to resume from is of another model, or less than half of the model's weights are
                in the checkpoint to start from.
            WeightsError: The checkpoint to resume from has no optimizer state.
        """
        if not isinstance(runner._train_loop, BaseLoop):
            return
        if not runner._resume:
            runner.logger.info(count_fitting_weights(runner.model, checkpoint, str(runner.cfg.get('load_from'))))
            if 'state_dict' not in checkpoint:
                # EMAHook only reads weights that are in ``state_dict``.
                weights = dict(checkpoint)
                checkpoint.clear()
                checkpoint['state_dict'] = weights
            return
        if 'optimizer' not in checkpoint or 'message_hub' not in checkpoint:
            raise WeightsError('the checkpoint to resume from has no optimizer state (best_*.pth never has): resume '
                               'from epoch_*.pth or iter_*.pth, or start a new training from its weights with '
                               '--cfg-options load_from=FILE')
        refuse_other_weights(runner.model, checkpoint)
        refuse_other_model(runner.cfg.model.to_dict(), content_of(checkpoint))


class FittingCheckpointHook(Hook):
    """Refuses to test a checkpoint of another model, and warns if the data do not suit its training.

    Another model has weights of other names or shapes, or settings with which the weights mean something else, for
    example other anchors (:func:`refuse_other_model`). MMEngine only logs weights that do not fit, and continues with
    random weights in their place, which is right only at the start of a training.

    The hook warns if classes, channel order or validation data differ from the training of the checkpoint, and if
    images under test were in the training data.

    Args:
        split: Which data are tested, 'val' or 'test'.
    """

    priority = 'LOWEST'

    def __init__(self, split: str = 'test') -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the weights with the model, and mmcell's record of the training data with the data under test.

        Raises:
            FitError: The checkpoint is of another model.
        """
        refuse_other_weights(runner.model, checkpoint)
        refuse_other_model(runner.cfg.model.to_dict(), content_of(checkpoint))
        meta = checkpoint.get('meta')
        if not isinstance(meta, dict) or 'mmcell' not in meta:
            return
        tested = describe_data(runner.test_dataloader.dataset)
        try:
            warnings = compare_data(meta['mmcell']['data'], tested, self.split)
        except (KeyError, TypeError, AttributeError) as error:
            warnings = [f'the record of the training data in the checkpoint cannot be read: {error!r}']
        for warning in warnings:
            runner.logger.warning(warning)
