"""The hook that holds a model to a number of trainable parameters."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmcell.errors import MmcellError
from mmcell.framework.console import FILE_ONLY


class ParameterBudgetError(MmcellError):
    """The model has more trainable parameters than it may have."""


@HOOKS.register_module()
class ParameterBudgetHook(Hook):
    """Logs how many parameters the model has before each training, and stops where too many of them are trainable.

    Frozen parameters do not count, nor do the copies of an EMA; what several modules share counts once.

    Args:
        max_trainable: most trainable parameters that are allowed; None for no limit.
    """

    def __init__(self, max_trainable: int | None = None) -> None:
        self.max_trainable = max_trainable

    def before_train(self, runner: Runner) -> None:
        """Counts.

        Raises:
            ParameterBudgetError: more than ``max_trainable`` are trainable.
        """
        trainable, total = count_parameters(runner.model)
        # Of several processes the first alone logs what is no error.
        runner.logger.info(f'Trainable parameters: {trainable:,} of {total:,}', extra=FILE_ONLY)
        if self.max_trainable is not None and trainable > self.max_trainable:
            raise ParameterBudgetError(
                f'the model has {trainable:,} trainable parameters, {self.max_trainable:,} are allowed: take a smaller '
                'backbone, freeze a part of it (model.backbone.frozen_stages), or set another limit, None for none: '
                '--cfg-options default_hooks.parameter_budget.max_trainable=None')


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Number of trainable parameters (those with ``requires_grad``) and of all; shared ones count once."""
    sizes = [(parameter.requires_grad, parameter.numel()) for parameter in model.parameters()]
    return sum(size for is_trainable, size in sizes if is_trainable), sum(size for _, size in sizes)
