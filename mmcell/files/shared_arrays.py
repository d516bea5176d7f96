"""Arrays that several processes share: each is written once, and read by all without being copied first."""

import itertools
import math
import mmap
import multiprocessing.context
import multiprocessing.reduction
import os
import tempfile
import weakref
from collections.abc import Sequence
from typing import Self

import numpy as np

# Mappings of a file begin at multiples of this number of bytes.
PAGE_BYTES = mmap.ALLOCATIONGRANULARITY
# What a process needs of its system to share arrays. Windows has neither.
CAN_SHARE = hasattr(os, 'pread') and hasattr(os, 'pwrite')


class SharedArrays:
    """Places for N arrays of known shapes and types. A place is empty until a process writes its array.

    The arrays lie in a file without a name, which the system removes when the last process that has opened it ends, in
    whatever way. On Linux it lies in memory, but not in ``/dev/shm``, which is small in containers. Elsewhere it is a
    temporary file on disk. Only places that were written take up memory.

    An array that was read can be changed, as every array can: the pages that are changed are copied for this one array
    (copy on write), and the shared array keeps its values. Pages that are only read are never copied.

    No lock is needed, and a process may be killed at any time. A byte per place says that its array is complete, and is
    set after the array was written. Two processes that write the same place must write the same values.

    Processes share the arrays if they were forked, or if the object was among the arguments of a process that is
    started by spawn or forkserver. Pickled in any other way, the places are lost: they all stay empty. A deep copy is
    the same object.

    Args:
        layouts: N pairs of a shape and a dtype.

    Raises:
        OSError: The file cannot be created.
    """

    def __init__(self, layouts: Sequence[tuple[tuple[int, ...], np.dtype | type]]) -> None:
        self.layouts = [(tuple(shape), np.dtype(dtype)) for shape, dtype in layouts]
        # Each place begins on a page of its own, after the bytes that say what is complete.
        sizes = [round_up_to_pages(len(self.layouts)), *(bytes_of(*layout) for layout in self.layouts)]
        self._begins = list(itertools.accumulate(sizes))[:-1]
        self.n_bytes = sum(sizes)
        self._open(_open_nameless_file())
        self._write_bytes(bytes(sizes[0]), 0)

    def _open(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        return len(self.layouts)

    def read(self, index: int) -> np.ndarray | None:
        """Returns the array in a place; None if it is empty. It can be changed without changing the shared array."""
        if self._descriptor is None or os.pread(self._descriptor, 1, index) != b'\1':
            return None
        shape, dtype = self.layouts[index]
        n_bytes = math.prod(shape) * dtype.itemsize
        if not n_bytes:  # nothing can be mapped
            return np.zeros(shape, dtype)
        begin = self._begins[index]
        try:
            content = mmap.mmap(self._descriptor, n_bytes, access=mmap.ACCESS_COPY, offset=begin)
        except OSError:  # each mapping needs a file descriptor, and the number of descriptors is limited
            content = bytearray(os.pread(self._descriptor, n_bytes, begin))
        return np.frombuffer(content, dtype).reshape(shape)

    def write(self, index: int, array: np.ndarray) -> None:
        """Writes the array of a place; processes that read the place later get it.

        Raises:
            OSError: There is no space left. The place stays empty.
            ValueError: The array does not have the shape and type of the place.
        """
        if (array.shape, array.dtype) != self.layouts[index]:
            raise ValueError(f'the place is for {self.layouts[index]}, but got {(array.shape, array.dtype)}')
        if self._descriptor is not None:
            self._write_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, self._begins[index])
            self._mark_complete(index)

    def _mark_complete(self, index: int) -> None:
        os.pwrite(self._descriptor, b'\1', index)

    def _write_bytes(self, content: bytes | memoryview, begin: int) -> None:
        # Writing to a mapping would end the process (SIGBUS) if no space is left; writing to the file raises an error.
        # One call writes 2 GiB at most, and fewer bytes when space ends.
        content, done = memoryview(content), 0
        while done < len(content):
            done += os.pwrite(self._descriptor, content[done:], begin + done)

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __getstate__(self) -> dict:
        is_starting_process = multiprocessing.context.get_spawning_popen() is not None
        shared = is_starting_process and self._descriptor is not None
        return {**self.__dict__, '_descriptor': multiprocessing.reduction.DupFd(self._descriptor) if shared else None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open(None if state['_descriptor'] is None else state['_descriptor'].detach())


def bytes_of(shape: tuple[int, ...], dtype: np.dtype | type) -> int:
    """Returns the bytes that a place takes up in :class:`SharedArrays` when it is written."""
    return round_up_to_pages(math.prod(shape) * np.dtype(dtype).itemsize)


def round_up_to_pages(n_bytes: int) -> int:
    """Returns the bytes of the fewest pages that hold a number of bytes."""
    return -(-n_bytes // PAGE_BYTES) * PAGE_BYTES


def _open_nameless_file() -> int:
    """Returns the descriptor of a new file without a name, in memory if the system can do it."""
    if hasattr(os, 'memfd_create'):
        try:
            return os.memfd_create('mmcell')
        except OSError:  # some sandboxes forbid it
            pass
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
