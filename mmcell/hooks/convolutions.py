"""The hook that chooses how convolutions are computed."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.framework.console import FILE_ONLY
from mmcell.models.winograd import use_winograd


@HOOKS.register_module()
class WinogradHook(Hook):
    """Computes 3x3 convolutions on the CPU by Winograd's algorithm (:mod:`mmcell.models.winograd`), which is faster.

    Losses and predictions differ in the sixth digit. Models on other devices are not changed.
    """

    def before_run(self, runner: Runner) -> None:
        """Turns the convolutions of the model for which it pays into ``WinogradConv2d``."""
        if all(parameter.device.type == 'cpu' for parameter in runner.model.parameters()):
            n_layers = use_winograd(runner.model)
            runner.logger.info(f"Convolutions that are computed by Winograd's algorithm: {n_layers}", extra=FILE_ONLY)
