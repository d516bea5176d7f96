"""Hooks that stop a training before its first step, if it could not give what its config says."""

from collections.abc import Iterator
from difflib import get_close_matches

from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import BaseLoop, Runner

from mmcell.checkpoints.fit import FitError, count_fitting_weights, refuse_other_model, refuse_other_weights
from mmcell.checkpoints.records import content_of
from mmcell.framework.safe_loading import WeightsError


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
        try:
            refuse_other_weights(runner.model, checkpoint)
            refuse_other_model(runner.cfg.model.to_dict(), content_of(checkpoint))
        except FitError as error:
            raise FitError(f'--resume: {error}. To train this model from its first step, leave out --resume and name '
                           'another folder with --work-dir FOLDER') from error
