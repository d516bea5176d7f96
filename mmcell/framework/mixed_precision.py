"""Automatic mixed precision on CUDA and on the CPU."""

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmcell.errors import MmcellError

DTYPES = {'cuda': ('float16', 'bfloat16'), 'cpu': ('bfloat16',)}


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(AmpOptimWrapper):
    """``AmpOptimWrapper`` that takes the CPU too, and scales the loss only where that helps.

    float16 on CUDA has a dynamic loss scale, since its small gradients become 0. bfloat16 has the range of float32:
    no scale is needed, on CUDA or the CPU. mmengine's class refuses the CPU.

    Args:
        dtype: 'float16' or 'bfloat16' on CUDA (None: float16), 'bfloat16' on the CPU (None: that).
        loss_scale: as ``AmpOptimWrapper``; for float16.
        kwargs: as ``mmengine.optim.OptimWrapper``.

    Raises:
        MmcellError: the device cannot compute in this type.
    """

    def __init__(self, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs) -> None:
        device = get_device()
        if device not in DTYPES:
            raise MmcellError(f'mixed precision is for {" and ".join(DTYPES)}, the device is {device}: train without')
        dtype = dtype or DTYPES[device][0]
        if dtype not in DTYPES[device]:
            raise MmcellError(f'mixed precision on {device} is for {" and ".join(DTYPES[device])}, not {dtype}')
        if dtype == 'float16':
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
        else:
            # Past AmpOptimWrapper's own, which asserts a GPU: all that it sets is set here.
            OptimWrapper.__init__(self, **kwargs)
            self._scale_update_param = None
            self.loss_scaler = torch.amp.GradScaler(device, enabled=False)
            self.cast_dtype = torch.bfloat16
        scaling = 'with a scaled loss' if self.loss_scaler.is_enabled() else 'without a scaled loss'
        print_log(f'Mixed precision: {dtype} on {device}, {scaling}.', logger='current')

    def load_state_dict(self, state_dict: dict) -> None:
        """As ``AmpOptimWrapper``; a scale of a run with another type is left out."""
        if bool(state_dict.get('loss_scaler')) != self.loss_scaler.is_enabled():
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
