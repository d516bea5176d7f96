"""Builds models from configs that nobody vouches for: from listed classes only, and with limited memory and time.

Two locks hold while such a model is built:

- **Names.** Every class that MMEngine builds is looked up by its name in a registry. The look-up is refused if the name
  is not on a list, wherever the name comes from: some constructors look up the values of other arguments than ``type``,
  and MMEngine imports a name that no registry knows.
- **Numbers.** Before torch makes a tensor, its size is computed without memory, on torch's meta device. The model is
  refused before it has more numbers than it may have.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps

import torch
from mmengine.registry import Registry
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from mmcell.errors import MmcellError

_allowed_names: ContextVar[frozenset[str] | None] = ContextVar('allowed_names', default=None)


@contextmanager
def building_within(names: frozenset[str], max_elements: int, max_operations: int) -> Iterator[None]:
    """Limits what is built inside the block, in this thread.

    Args:
        names: The names that may be looked up in registries, for example 'ResNet' and 'mmpretrain.ConvNeXt'. A name
            with a prefix also allows the name without it.
        max_elements: How many elements all tensors that are made or changed may have in total. Building a model takes
            two to three times as many as it has weights.
        max_operations: How many operations of torch may be carried out. Building a model takes two to five of them per
            tensor of weights, and a fraction of a millisecond for each.

    Raises:
        MmcellError: A class is looked up that is not on the list, or a limit is exceeded.
    """
    token = _allowed_names.set(names | {name.rpartition('.')[2] for name in names})
    try:
        with _Budget(max_elements, max_operations):
            yield
    finally:
        _allowed_names.reset(token)


def guard_lookups() -> None:
    """Makes MMEngine's registries refuse names that are not allowed inside :func:`building_within`.

    Further calls change nothing.
    """
    if hasattr(Registry.get, '__wrapped__'):
        return
    stock_get = Registry.get

    @wraps(stock_get)
    def get_if_allowed(registry: Registry, key: str) -> object:
        names = _allowed_names.get()
        if names is not None and key not in names:
            raise MmcellError(f'{key!r} is not on the list of classes that are built without trust')
        return stock_get(registry, key)

    Registry.get = get_if_allowed


class _Budget(TorchDispatchMode):
    """Counts the operations of torch and the elements of their results, and refuses an operation beyond the limits."""

    def __init__(self, max_elements: int, max_operations: int) -> None:
        super().__init__()
        self.elements_left, self.operations_left = max_elements, max_operations

    def __torch_dispatch__(self, func: Callable, types: Sequence[type], args: tuple = (),
                           kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        self.operations_left -= 1
        self.elements_left -= _count_elements(func, args, kwargs)
        if self.operations_left < 0 or self.elements_left < 0:
            raise MmcellError('it has more weights or layers than the checkpoint')
        return func(*args, **kwargs)


def _count_elements(func: Callable, args: tuple, kwargs: dict) -> int:
    """Returns how many elements the tensors that an operation returns have, without computing them."""
    args, kwargs = tree_map_only(torch.Tensor, lambda tensor: tensor.to('meta'), (args, kwargs))
    try:
        result = func(*args, **{**kwargs, **({'device': 'meta'} if 'device' in kwargs else {})})
    except (RuntimeError, NotImplementedError):  # the operation needs values, which the meta device does not have
        return 0
    return sum(item.numel() for item in (result if isinstance(result, tuple | list) else [result])
               if isinstance(item, torch.Tensor))
