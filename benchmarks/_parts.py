"""Measures how the time of a piece of work is divided among its parts."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

from torch import Tensor

OTHER = 'other'


class PartClock:
    """Divides the time of a piece of work among parts that may be nested.

    At any moment the time belongs to one part: to the innermost part that has been entered. Time outside all parts
    belongs to the part 'other'. The parts therefore add up to the whole time.

    Example: a part A takes 3 s, and 1 s of it is spent in a part B that A calls. Then A has 2 s, and B has 1 s.

    Args:
        now: Returns the time in seconds.
        synchronize: Called before each reading of the time. On CUDA it must be ``torch.cuda.synchronize``, because
            kernels are only put into a queue there. None on the CPU.

    Attributes:
        seconds: Seconds per part, in the order in which the parts were first entered.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter,
                 synchronize: Callable[[], object] | None = None) -> None:
        self._now, self._synchronize = now, synchronize
        self._parts = [OTHER]
        self._since = 0.
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Measures the block. Time before and after it is not counted."""
        self._since = self._read()
        yield
        self._charge()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time of the block for a part, except for the time of the parts inside the block."""
        self._charge()
        self._parts.append(name)
        try:
            yield
        finally:
            self._charge()
            self._parts.pop()

    def switch(self, name: str) -> None:
        """Ends the innermost part, and begins another part in its place."""
        self._charge()
        self._parts[-1] = name

    def _read(self) -> float:
        if self._synchronize is not None:
            self._synchronize()
        return self._now()

    def _charge(self) -> None:
        now = self._read()
        self.seconds[self._parts[-1]] += now - self._since
        self._since = now


@dataclass(frozen=True)
class Watched:
    """A method of an object, or a function of a module, whose calls are counted for a part.

    Attributes:
        owner: The object or the module.
        name: The name of the method or function.
        part: The name of the part.
        backward: The name of the part of the backward pass that begins when the gradient of a result arrives; None if
            the results have no gradients, or if their gradients belong to the part before.
    """

    owner: object
    name: str
    part: str
    backward: str | None = None


@contextmanager
def watched_calls(clock: PartClock, methods: Sequence[Watched]) -> Iterator[None]:
    """Counts the calls of methods and functions for their parts, inside the block.

    The backward pass must run inside a part of the clock. Autograd visits the operations in the reverse order of their
    execution. The gradients of one method are therefore computed together, and begin with the gradient of its result.
    """
    with ExitStack() as stack:
        for method in methods:
            stack.enter_context(mock.patch.object(method.owner, method.name, _timed(clock, method)))
        yield


def _timed(clock: PartClock, method: Watched) -> Callable:
    function = getattr(method.owner, method.name)

    def call(*args: object, **kwargs: object) -> object:
        with clock.part(method.part):
            result = function(*args, **kwargs)
        for tensor in _tensors_of(result) if method.backward else ():
            if tensor.requires_grad:
                tensor.register_hook(lambda _: clock.switch(method.backward))
        return result
    return call


def _tensors_of(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, tuple, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_of(item)
