"""What a checkpoint may hold: tensors, numbers, strings, and containers of them."""

from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmcell.errors import MmcellError

# A dict with exactly these keys stands for one of MMEngine's HistoryBuffers in a checkpoint.
BUFFER_KEYS = {'log_history', 'count_history', 'max_length'}

_TENSOR_TYPES = {np.dtype(code) for code in '?bhilqBHILQefdFD'}


class ContentError(MmcellError):
    """A checkpoint cannot be saved, because an object in it could not be loaded without running code."""


def to_plain(value: object, name: str = 'checkpoint') -> object:
    """Returns the same content in types that ``torch.load(weights_only=True)`` reads without an allowlist.

    NumPy arrays become tensors, NumPy numbers become Python numbers, paths become strings, and deques and sets become
    lists. MMEngine's HistoryBuffers become dicts of their values, from which :func:`to_history_buffers` makes them
    again. Tensors are not copied. An OrderedDict keeps its attributes, because a state dict has the versions of its
    modules in the attribute ``_metadata``.

    Args:
        value: The content of a checkpoint, or a part of it.
        name: Where the value stands in the checkpoint, for the error message.

    Raises:
        ContentError: The value is, or contains, an object of any other type; the message says where.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes, torch.Tensor) or isinstance(
            value, torch.Size | torch.dtype | torch.device):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, HistoryBuffer):
        log_history, count_history = value.data
        return {'log_history': torch.from_numpy(log_history.astype(np.float64)),
                'count_history': torch.from_numpy(count_history.astype(np.float64)), 'max_length': value.max_length}
    if isinstance(value, np.ndarray) and value.dtype.newbyteorder('=') in _TENSOR_TYPES:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder('=')))
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return to_plain(value.item(), name)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, OrderedDict):
        plain = OrderedDict((key, to_plain(item, f'{name}[{key!r}]')) for key, item in value.items())
        plain.__dict__.update(to_plain(vars(value), f'{name}.__dict__'))
        return plain
    if isinstance(value, dict):
        return {to_plain(key, name): to_plain(item, f'{name}[{key!r}]') for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_plain(item, f'{name}[{i}]') for i, item in enumerate(value))
    if isinstance(value, list | deque | set | frozenset):
        return [to_plain(item, f'{name}[{i}]') for i, item in enumerate(value)]
    for base in (int, float, str):
        if isinstance(value, base):  # a subclass
            return base(value)
    raise ContentError(f'{name} is a {type(value).__module__}.{type(value).__qualname__}: a checkpoint holds only '
                       'tensors, numbers and strings, so that it can be loaded without running code')


def to_history_buffers(log_scalars: dict) -> dict:
    """Makes MMEngine's HistoryBuffers again from their values in a checkpoint.

    Args:
        log_scalars: The scalars of MMEngine's message hub, as :func:`to_plain` returned them. Values that are not dicts
            of a HistoryBuffer are returned unchanged.
    """
    return {key: HistoryBuffer(value['log_history'].cpu().numpy(), value['count_history'].cpu().numpy(),
                               value['max_length'])
            if isinstance(value, dict) and value.keys() == BUFFER_KEYS else value
            for key, value in log_scalars.items()}
