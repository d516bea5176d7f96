"""Measures the time and the peak memory of a piece of work, and the times of two pieces of work in alternation."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROC = Path('/proc/self')


def seconds(work: Callable[[], object]) -> float:
    """Returns the seconds that one call takes, including the time to free its result."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    """Returns the median of the seconds that ``rounds`` calls take, after a first call that is not measured."""
    work()
    return float(np.median([seconds(work) for _ in range(rounds)]))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Returns the seconds of CPU time that one call takes in all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def time_alternately(first: Callable[[], object], second: Callable[[], object], rounds: int,
                     clock: Callable[[Callable[[], object]], float] = seconds) -> tuple[np.ndarray, np.ndarray]:
    """Returns the seconds of two pieces of work, (rounds,) float64 each.

    Each round calls one after the other, so that other work on the machine slows both. ``clock`` is :func:`seconds` or
    :func:`cpu_seconds`.
    """
    pairs = [(clock(first), clock(second)) for _ in range(rounds)]
    return tuple(np.array(times) for times in zip(*pairs, strict=True))


def peak_memory_mib(prepare: Callable[..., Callable[[], object]], *args: object) -> float:
    """Returns by how many MiB the memory of a process grows at most while it does a piece of work.

    Args:
        prepare: A picklable function that returns the work, which is a function without arguments. ``prepare`` is
            called in a fresh process, before the memory is measured.
        *args: Arguments of ``prepare``.

    Raises:
        MemoryError: The fresh process ended without a result, for example because it ran out of memory.
    """
    context = multiprocessing.get_context('spawn')
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(writer, prepare, args))
    process.start()
    writer.close()
    try:
        return reader.recv()
    except EOFError:
        raise MemoryError('the process that measured the memory ended without a result') from None
    finally:
        process.join()


def use_one_thread() -> None:
    """Makes torch and OpenCV use one thread, so that other work on the machine changes the times less."""
    import cv2
    import torch
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def call_with_peak(work: Callable[[], object], trims: bool = True) -> tuple[object, float]:
    """Calls a function; returns its result, and by how many MiB the memory of this process grew at most meanwhile.

    Args:
        work: The function.
        trims: Whether freed memory is returned to the system before; the function could use it otherwise.
    """
    if trims:
        _trim()
    before = _status_mib('VmRSS')
    # Linux resets the recorded peak (VmHWM) to the current memory.
    (PROC / 'clear_refs').write_text('5')
    result = work()
    return result, _status_mib('VmHWM') - before


def use_memory_of(kind: str) -> None:
    """Makes the process keep freed memory if the kind is 'mmcell', and otherwise return it as glibc does."""
    import ctypes

    from mmcell.framework.freed_memory import keep_freed_memory
    if kind == 'mmcell':
        keep_freed_memory()
        return
    libc = ctypes.CDLL('libc.so.6')
    # M_MMAP_MAX, and the values that glibc itself raises M_MMAP_THRESHOLD and M_TRIM_THRESHOLD to.
    for parameter, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):
        libc.mallopt(parameter, value)


def _send_peak(writer: object, prepare: Callable, args: tuple) -> None:
    use_one_thread()
    result, peak = call_with_peak(prepare(*args))
    del result
    writer.send(peak)


def _trim() -> None:
    """Returns freed memory to the system. Otherwise the work could use this memory, and its peak would look too low."""
    import ctypes
    import gc
    gc.collect()
    ctypes.CDLL('libc.so.6').malloc_trim(0)


def _status_mib(key: str) -> float:
    line = next(line for line in (PROC / 'status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024
