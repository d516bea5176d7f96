"""The hook that sets the precision of matrix products in float32."""

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class MatmulPrecisionHook(Hook):
    """Lets GPUs round the factors of matrix products in float32, during a training or a test.

    With 'high', NVIDIA's GPUs since 2020 use TF32: factors keep 10 of 23 bits, sums keep all. torch does this by
    default for convolutions, but not for the products of fully connected layers.

    Args:
        precision: 'highest', 'high' or 'medium', as in ``torch.set_float32_matmul_precision``.
    """

    def __init__(self, precision: str = 'high') -> None:
        self.precision = precision
        self._before = torch.get_float32_matmul_precision()

    def before_run(self, runner: Runner) -> None:
        """Sets the precision."""
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.precision)

    def after_run(self, runner: Runner) -> None:
        """Sets the precision back, because it applies to the whole process."""
        torch.set_float32_matmul_precision(self._before)
