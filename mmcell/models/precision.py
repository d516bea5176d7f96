"""Prediction in mixed precision: the layers of the network compute in 16 bits, everything after them in float32.

Autocast around a whole prediction would also reach boxes, scores and masks: in bfloat16, positions from 512 to 1,024 px
are multiples of 4 px. Here it surrounds only the parts of the network whose ``forward`` is made of layers, and what
these parts return is float32 again. Decoded boxes, NMS, RoIAlign, probabilities, thresholds and pasted masks are
computed from float32 values, in float32.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import MethodType

import numpy as np
import torch
from mmdet.models import BaseDetector
from mmdet.models.dense_heads import AnchorHead, YOLACTProtonet
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmengine.dist import broadcast_object_list, get_rank
from torch import Tensor, nn

from mmcell.cells.agreement import Agreement
from mmcell.cells.cells import Cells
from mmcell.errors import MmcellError
from mmcell.framework.mixed_precision import SLOW_BFLOAT16, has_fast_bfloat16

# float16 rounds to 11 binary digits, bfloat16 to 8. Activations of trained detectors stay far below the 65,504 at which
# float16 overflows, and every GPU since 2018 computes it fast. CPUs have fast instructions for bfloat16 only.
PREDICTION_DTYPES = {'cpu': torch.bfloat16, 'cuda': torch.float16}
# The automatic choice compares cells of the first images until it has seen MIN_CELLS of them, in at most MAX_SAMPLES
# images. In crops of the challenge, 97 to 100 % of a trained Mask R-CNN's cells with a score of at least .5 were the
# same in bfloat16, with a median IoU of at least .998. The scores of the others are next to the threshold.
MIN_CELLS, MAX_SAMPLES = 20, 5
MIN_MATCHED_SHARE, MIN_MEDIAN_IOU = .95, .98


@dataclass(frozen=True)
class Precision:
    """The precision of a prediction.

    Attributes:
        dtype: The type in which the network computes, float16 or bfloat16; None: float32 everywhere.
        reason: Why, as a phrase for the log.
    """

    dtype: torch.dtype | None
    reason: str

    @property
    def name(self) -> str:
        """'float32', 'bfloat16' or 'float16'."""
        return str(self.dtype or torch.float32).removeprefix('torch.')

    def describe(self) -> str:
        """Returns the line for the log."""
        return f'mixed precision: {f"on ({self.name})" if self.dtype else "off"}, {self.reason}'


def network_parts(model: nn.Module) -> list[nn.Module]:
    """Returns the parts of a model that can compute in 16 bits: their ``forward`` consists of layers only.

    These are backbones, necks, and those heads of MMDetection whose ``forward`` returns logits and deltas. Other heads,
    which decode boxes or apply thresholds inside ``forward``, stay in float32.
    """
    parts = []
    for module in model.modules():
        if isinstance(module, BaseDetector):
            parts += [part for part in (getattr(module, 'backbone', None), getattr(module, 'neck', None))
                      if isinstance(part, nn.Module)]
        elif isinstance(module, BBoxHead | FCNMaskHead) or (
                isinstance(module, AnchorHead) and type(module).forward is AnchorHead.forward):
            parts.append(module)
        elif isinstance(module, YOLACTProtonet):
            # The head itself goes on from the prototypes to probabilities.
            parts.append(module.protonet)
    return parts


def set_precision(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Makes a model predict in mixed precision, or in float32 again.

    Parameters stay float32, and so do the results of each part of :func:`network_parts`.

    Args:
        model: The detector, or what wraps it.
        dtype: torch.float16 or torch.bfloat16; None: float32.

    Raises:
        MmcellError: The model has no part that can compute in 16 bits.
    """
    parts = network_parts(model)
    if dtype is not None and not parts:
        raise MmcellError(f'mixed precision: {type(model).__name__} has no backbone, neck or head that is known to '
                          'work with it: predict without it (--no-amp)')
    for part in parts:
        # The instance's own ``forward`` hides that of its class, until it is removed.
        vars(part).pop('forward', None)
        if dtype is not None:
            # A method that is bound to the part: in a copy of the model, it is bound to the copy of the part.
            part.forward = MethodType(partial(_forward_in, dtype), part)


def _forward_in(dtype: torch.dtype, part: nn.Module, *args: object, **kwargs: object) -> object:
    with torch.autocast(_device_type(part), dtype):
        outputs = type(part).forward(part, *args, **kwargs)
    return _to_float32(outputs)


def _device_type(module: nn.Module) -> str:
    return next((parameter.device.type for parameter in module.parameters()), 'cpu')


def _to_float32(outputs: object) -> object:
    if isinstance(outputs, Tensor):
        return outputs.float()
    return type(outputs)(map(_to_float32, outputs)) if isinstance(outputs, list | tuple) else outputs


def choose_precision(model: nn.Module, is_wanted: bool | None,
                     samples: Iterable[Callable[[], Cells]] = ()) -> Precision:
    """Chooses the precision of a prediction, and sets it in the model.

    The automatic choice is mixed precision if the processor has instructions for bfloat16 and the cells of the first
    images are the same with and without it, within ``MIN_MATCHED_SHARE`` and ``MIN_MEDIAN_IOU``. With several
    processes, the first one chooses for all, and its samples are predicted.

    Args:
        model: The detector in evaluation mode, or what wraps it.
        is_wanted: Whether mixed precision is wanted; None: automatic.
        samples: Functions, each of which predicts the cells of an image with the present precision of the model. They
            are called only by the automatic choice.

    Raises:
        MmcellError: Mixed precision is wanted, but not possible with this model or on this device.
    """
    chosen = [_choose(model, is_wanted, samples)]
    broadcast_object_list(chosen)
    set_precision(model, chosen[0].dtype)
    return chosen[0]


def _choose(model: nn.Module, is_wanted: bool | None, samples: Iterable[Callable[[], Cells]]) -> Precision:
    device = _device_type(model)
    dtype = PREDICTION_DTYPES.get(device)
    if is_wanted and dtype is None:
        raise MmcellError(f'--amp works only on {" and ".join(PREDICTION_DTYPES)}, but the device is {device}: predict '
                          'without it (--no-amp)')
    if is_wanted is not None:
        warning = f'; {SLOW_BFLOAT16}' if is_wanted and dtype == torch.bfloat16 and not has_fast_bfloat16() else ''
        return Precision(dtype if is_wanted else None, f'because of --{"" if is_wanted else "no-"}amp{warning}')
    if device != 'cpu':
        return Precision(None, f'because the automatic choice is only for CPUs and the device is {device}; '
                               '--amp switches it on')
    if not has_fast_bfloat16():
        return Precision(None, 'because the processor has neither AVX-512 BF16 nor AMX')
    if not network_parts(model):
        return Precision(None, f'because {type(model).__name__} has no part that is known to work with it')
    return _judge(measure_agreement(model, dtype, samples), dtype) if get_rank() == 0 else Precision(None, '')


def measure_agreement(model: nn.Module, dtype: torch.dtype, samples: Iterable[Callable[[], Cells]]) -> Agreement:
    """Compares the cells that a model finds in float32 and in mixed precision; the model is in float32 afterwards.

    Args:
        model: The detector in evaluation mode, or what wraps it.
        dtype: The type of mixed precision.
        samples: As in :func:`choose_precision`.
    """
    agreement = Agreement(0, np.zeros(0))
    for _, predict in zip(range(MAX_SAMPLES), samples, strict=False):
        set_precision(model, None)
        expected = predict()
        set_precision(model, dtype)
        try:
            agreement += Agreement.of_cells(expected, predict())
        finally:
            set_precision(model, None)
        if agreement.n_cells >= MIN_CELLS:
            break
    return agreement


def _judge(agreement: Agreement, dtype: torch.dtype) -> Precision:
    if agreement.n_cells < MIN_CELLS:
        return Precision(None, f'because the first images have only {agreement.n_cells} cells, and at least '
                               f'{MIN_CELLS} must be compared with and without it; --amp switches it on')
    is_equal = agreement.matched_share >= MIN_MATCHED_SHARE and agreement.median_iou >= MIN_MEDIAN_IOU
    return Precision(
        dtype if is_equal else None,
        f'because of {agreement.n_cells} cells in the first images {agreement.matched_share:.1%} are the same with and '
        f'without it (at least {MIN_MATCHED_SHARE:.0%}), with a median IoU of {agreement.median_iou:.3f} (at least '
        f'{MIN_MEDIAN_IOU:.2f}); --{"no-" if is_equal else ""}amp switches it {"off" if is_equal else "on"}')
