"""Hooks for the validation value by which a training keeps the best checkpoint, stops early or lowers its rate."""

from collections.abc import Iterator
from difflib import get_close_matches

from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import Runner

from mmcell.checkpoints.fit import FitError
from mmcell.evaluation.cell_metric import HEADLINES

_KEY = 'early_stopping'


@HOOKS.register_module()
class CellEarlyStoppingHook(EarlyStoppingHook):
    """``EarlyStoppingHook`` that stores in checkpoints how many validations have brought no better value.

    The stock hook starts to count from 0 in each resumed run. An epoch is not counted if the run was killed after
    its checkpoint was saved, but before it was validated. The arguments are those of
    ``mmengine.hooks.EarlyStoppingHook``; the values of :class:`mmcell.evaluation.cell_metric.CellMetric` need no
    ``rule``.
    """

    _default_greater_keys = (*EarlyStoppingHook._default_greater_keys, *HEADLINES)

    def before_train(self, runner: Runner) -> None:
        """Takes the count and the best value from the checkpoint if the run is resumed."""
        if _KEY in runner.message_hub.runtime_info:
            state = runner.message_hub.get_info(_KEY)
            self.wait_count, self.best_score = state['wait_count'], state['best_score']

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Decides as the stock hook does, and stores the count and the best value for the next checkpoint."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(_KEY, dict(wait_count=self.wait_count, best_score=self.best_score))


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
