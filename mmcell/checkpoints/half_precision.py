"""Weights of a checkpoint in half precision: small enough to be carried, and sufficient for predictions."""

import io
from collections import OrderedDict

import torch

from mmcell.errors import MmcellError

# The greatest number of float16.
_GREATEST = torch.finfo(torch.float16).max
# Parts of ``meta`` that are kept. All commands that read checkpoints need no other.
_KEPT = ('epoch', 'iter', 'seed', 'time', 'cfg', 'dataset_meta', 'mmengine_version', 'mmcell')
# Says in ``meta`` that the weights were rounded.
PRECISION = 'weights_precision'


class HalfPrecisionError(MmcellError):
    """A checkpoint has no weights to be written in half precision."""


def to_half(checkpoint: dict) -> dict:
    """Returns the weights of a checkpoint in half precision, with its config, its classes and its record.

    Everything from which only a training continues is left out: the state of the optimizer, and a second set of
    weights, such as the one that is not averaged beside an EMA. Tensors of two and more dimensions become float16 and
    need half of the bytes. All others stay as they are: they are few, and statistics of a BatchNorm may be too small or
    too large for float16. So do tensors with numbers beyond 65,504.

    Args:
        checkpoint: A loaded checkpoint; its weights are in ``state_dict``, or it consists of the weights.

    Raises:
        HalfPrecisionError: There is no tensor among the weights.
    """
    state = checkpoint.get('state_dict', checkpoint)
    weights = OrderedDict((name, _rounded(value)) for name, value in state.items() if isinstance(value, torch.Tensor))
    if not weights:
        raise HalfPrecisionError('the checkpoint holds no weights')
    # The versions of the modules, which ``load_state_dict`` reads.
    weights.__dict__.update(getattr(state, '__dict__', {}))
    meta = checkpoint.get('meta') if isinstance(checkpoint.get('meta'), dict) else {}
    return {'state_dict': weights, 'meta': {**{key: meta[key] for key in _KEPT if key in meta}, PRECISION: 'float16'}}


def _rounded(value: torch.Tensor) -> torch.Tensor:
    is_large = value.dtype in (torch.float32, torch.float64) and value.ndim > 1
    # A comparison with NaN is false: such a tensor stays as it is.
    return value.half() if is_large and value.numel() and bool(value.abs().max() <= _GREATEST) else value.clone()


def to_bytes(checkpoint: dict) -> bytes:
    """Returns the content of the file that ``torch.save`` writes; equal checkpoints give equal bytes."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()
