"""Early stopping that a resumed run goes on with."""

from mmdet.registry import HOOKS
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

_KEY = 'early_stopping'


@HOOKS.register_module()
class CellEarlyStoppingHook(EarlyStoppingHook):
    """``EarlyStoppingHook`` whose count of validations without a better value is in the checkpoints.

    The stock hook begins to count anew in each resumed run. An epoch that was saved and killed before it was validated
    is not counted.

    Args: as ``mmengine.hooks.EarlyStoppingHook``.
    """

    def before_train(self, runner: Runner) -> None:
        """Goes on where the checkpoint stands."""
        if _KEY in runner.message_hub.runtime_info:
            state = runner.message_hub.get_info(_KEY)
            self.wait_count, self.best_score = state['wait_count'], state['best_score']

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Decides as the stock hook does, and keeps where it stands."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(_KEY, dict(wait_count=self.wait_count, best_score=self.best_score))
