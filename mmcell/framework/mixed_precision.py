"""Automatic mixed precision on CUDA and on the CPU."""

import logging

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmcell.errors import MmcellError

# Measured: six times slower, for the 3x3 convolutions of a mask head on an AMD EPYC with AVX2.
SLOW_BFLOAT16 = ('this processor has neither AVX-512 BF16 nor AMX: it computes bfloat16 in software, several times '
                 'slower than float32. Without --amp, this is faster')
DTYPES = {'cuda': ('float16', 'bfloat16'), 'cpu': ('bfloat16',)}


def has_fast_bfloat16() -> bool:
    """Returns whether the processor has instructions for bfloat16 that are faster than float32: AVX-512 BF16 or AMX.

    ``torch.ops.mkldnn._is_mkldnn_bf16_supported()`` is also true of processors that only emulate bfloat16 with AVX-512.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(AmpOptimWrapper):
    """``AmpOptimWrapper`` that also works on the CPU, and scales the loss only where scaling helps.

    With float16 on CUDA the loss has a dynamic scale, because small gradients would become 0. bfloat16 has the range of
    float32 and needs no scale, neither on CUDA nor on the CPU. MMEngine's class refuses the CPU.

    Args:
        dtype: Type of the computation. On CUDA: 'float16', 'bfloat16', or None, which means 'float16'. On the CPU:
            'bfloat16', or None, which means 'bfloat16'.
        loss_scale: Scale of the loss for float16, as in ``AmpOptimWrapper``; ignored for bfloat16.
        kwargs: Further arguments of ``mmengine.optim.OptimWrapper``.

    Raises:
        MmcellError: Mixed precision does not work on the device, or does not work there with this type.
    """

    def __init__(self, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs) -> None:
        device = get_device()
        if device not in DTYPES:
            raise MmcellError(f'mixed precision works only on {" and ".join(DTYPES)}, but the device is {device}: '
                              'train without it')
        dtype = dtype or DTYPES[device][0]
        if dtype not in DTYPES[device]:
            raise MmcellError(f'mixed precision on {device} works only with {" and ".join(DTYPES[device])}, '
                              f'not {dtype}')
        if dtype == 'float16':
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
        else:
            # The __init__ of AmpOptimWrapper is skipped, because it asserts a GPU. Everything that it sets is set here.
            OptimWrapper.__init__(self, **kwargs)
            self._scale_update_param = None
            self.loss_scaler = torch.amp.GradScaler(device, enabled=False)
            self.cast_dtype = torch.bfloat16
        scaling = 'with a scaled loss' if self.loss_scaler.is_enabled() else 'without a scaled loss'
        print_log(f'Mixed precision: {dtype} on {device}, {scaling}.', logger='current')
        if device == 'cpu' and not has_fast_bfloat16():
            print_log(SLOW_BFLOAT16, logger='current', level=logging.WARNING)

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads the state like ``AmpOptimWrapper``, but ignores the loss scale of a run with another dtype."""
        if bool(state_dict.get('loss_scaler')) != self.loss_scaler.is_enabled():
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
