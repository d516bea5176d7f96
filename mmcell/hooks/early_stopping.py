"""Early stopping that a resumed run continues."""

from mmdet.registry import HOOKS
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

from mmcell.evaluation.cell_metric import HEADLINES

_KEY = 'early_stopping'


@HOOKS.register_module()
class CellEarlyStoppingHook(EarlyStoppingHook):
    """``EarlyStoppingHook`` that stores in checkpoints how many validations have brought no better value.

    The stock hook starts to count from 0 in each resumed run. An epoch is not counted if the run was killed after
    its checkpoint was saved, but before it was validated. The arguments are those of
    ``mmengine.hooks.EarlyStoppingHook``; the values of :class:`mmcell.evaluation.CellMetric` need no ``rule``.
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
