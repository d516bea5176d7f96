"""Counts how often the host would wait for a device: with CUDA by CUDA itself, on the CPU by simulation."""

import contextlib
import traceback
import warnings
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# Their results are on the host, or their shapes depend on values: the host needs to know these.
_READING = {'cpu', 'item', 'tolist', 'numpy', '__array__', '__bool__', '__int__', '__float__', '__index__',
            '__contains__', 'is_nonzero', 'equal', 'allclose'}
_RAGGED = {'nonzero', 'argwhere', 'masked_select', 'unique', 'unique_consecutive', 'bincount'}
_INDEXING = {'__getitem__', 'index'}


@contextlib.contextmanager
def counting_host_waits(device='cpu'):
    """Yields a list, which gets one entry per wait: the line of code that waits, or CUDA's warning.

    On CUDA the entries are the warnings of ``torch.cuda.set_sync_debug_mode``. On the CPU every tensor counts as a
    tensor of a device, except those that come from ``Tensor.cpu`` or ``torch.from_numpy`` and what is computed from
    them: operations on these need no device.
    """
    if torch.device(device).type == 'cuda':
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            waits = []
            torch.cuda.set_sync_debug_mode('warn')
            try:
                yield waits
            finally:
                torch.cuda.set_sync_debug_mode('default')
                waits += [f'{warning.filename}:{warning.lineno}' for warning in caught
                          if 'synchronizing' in str(warning.message)]
    else:
        simulation = _Simulation()
        from_numpy = torch.from_numpy
        with mock.patch('torch.from_numpy', lambda array: _mark(from_numpy(array))), simulation:
            yield simulation.waits


def _mark(tensor):
    tensor.lies_on_host = True
    return tensor


def _lies_on_host(tensor):
    return getattr(tensor, 'lies_on_host', False)


class _Simulation(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, '__name__', '')
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_device = [tensor for tensor in tensors if not _lies_on_host(tensor)]
        if _waits(name, args, kwargs, tensors, on_device):
            frame = next(frame for frame in reversed(traceback.extract_stack()[:-1]) if 'torch/' not in frame.filename)
            self.waits.append(f'{frame.filename}:{frame.lineno} {name}')
        result = function(*args, **kwargs)
        if name == 'cpu':
            result = _mark(result.clone()) if on_device else result
        elif tensors and not on_device and name != 'to':
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    _mark(leaf)
        elif name == 'to' and tensors and not on_device:
            result = result.clone()
        return result


def _waits(name, args, kwargs, tensors, on_device):
    if name == 'to' and not on_device:  # the device is waited for until it has copied
        return not kwargs.get('non_blocking', False) and _names_device(args, kwargs)
    if name in ('tensor', 'as_tensor'):
        return kwargs.get('device') is not None and not tensors
    if name == 'new_tensor':
        return bool(on_device)
    if not on_device:
        return False
    if name == 'to':
        return False
    if name == 'repeat_interleave':
        has_lengths = len(args) == 1 or isinstance(args[1], torch.Tensor)
        return has_lengths and kwargs.get('output_size') is None
    if name == 'where':
        return len(args) == 1
    if name in _INDEXING:
        return any((isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool) or isinstance(leaf, range | list)
                   for leaf in (args[1] if isinstance(args[1], tuple) else (args[1],)))
    if name == '__setitem__':
        is_masked = any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1]))
        return is_masked and isinstance(args[2], torch.Tensor) and args[2].numel() > 1
    return name in _READING | _RAGGED


def _names_device(args, kwargs):
    return 'device' in kwargs or any(isinstance(arg, torch.device | str | torch.Tensor) for arg in args[1:])
