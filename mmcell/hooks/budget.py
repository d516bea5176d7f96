"""The hook that limits the number of trainable parameters of a model."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmcell.errors import MmcellError
from mmcell.framework.console import FILE_ONLY


class ParameterBudgetError(MmcellError):
    """The model has more trainable parameters than the limit allows."""


@HOOKS.register_module()
class ParameterBudgetHook(Hook):
    """Logs the number of parameters before each training, and stops if too many of them are trainable.

    Frozen parameters and the copies of an EMA do not count. A parameter that several modules share counts once.

    Args:
        max_trainable: The greatest number of trainable parameters that is allowed; None for no limit.
    """

    def __init__(self, max_trainable: int | None = None) -> None:
        self.max_trainable = max_trainable

    def before_train(self, runner: Runner) -> None:
        """Counts and logs the parameters.

        Raises:
            ParameterBudgetError: More than ``max_trainable`` parameters are trainable.
        """
        trainable, total = count_parameters(runner.model)
        # In every process but the first, the logger only shows errors: the line appears once.
        runner.logger.info(f'Trainable parameters: {trainable:,} of {total:,}', extra=FILE_ONLY)
        if self.max_trainable is not None and trainable > self.max_trainable:
            raise ParameterBudgetError(
                f'the model has {trainable:,} trainable parameters, but only {self.max_trainable:,} are allowed: use a '
                'smaller backbone, freeze a part of it (model.backbone.frozen_stages), or change the limit (None for '
                'no limit): --cfg-options default_hooks.parameter_budget.max_trainable=None')


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Returns the number of trainable parameters (``requires_grad``) and of all parameters; shared ones count once."""
    sizes = [(parameter.requires_grad, parameter.numel()) for parameter in model.parameters()]
    return sum(size for is_trainable, size in sizes if is_trainable), sum(size for _, size in sizes)
