"""Time and peak memory of one piece of work, in turn with another."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROC = Path('/proc/self')


def seconds(work: Callable[[], object]) -> float:
    """Seconds of one call; what it gives is freed before the clock stops."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of several calls, after one that is not counted."""
    work()
    return float(np.median([seconds(work) for _ in range(rounds)]))


def in_turn(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (rounds,) of both, one after the other in each round, so that a busy machine slows both."""
    pairs = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return tuple(np.array(times) for times in zip(*pairs, strict=True))


def peak_memory_mib(prepare: Callable[..., Callable[[], object]], *args: object) -> float:
    """Most memory in MiB that a piece of work takes beyond what was there when it began.

    Args:
        prepare: gives the work; called with ``args`` in a fresh process, before memory is looked at. It must be
            picklable.
    """
    context = multiprocessing.get_context('spawn')
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(writer, prepare, args))
    process.start()
    writer.close()
    try:
        return reader.recv()
    except EOFError:
        raise MemoryError('the process that measured memory was killed') from None
    finally:
        process.join()


def use_one_thread() -> None:
    """One thread for torch and OpenCV: what others do on the machine then matters least."""
    import cv2
    import torch
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _send_peak(writer: object, prepare: Callable, args: tuple) -> None:
    use_one_thread()
    work = prepare(*args)
    _trim()
    before = _status_mib('VmRSS')
    (PROC / 'clear_refs').write_text('5')  # the peak starts anew
    result = work()
    peak = _status_mib('VmHWM')
    del result
    writer.send(peak - before)


def _trim() -> None:
    """Gives freed memory back, so that the work has to take its own."""
    import ctypes
    import gc
    gc.collect()
    ctypes.CDLL('libc.so.6').malloc_trim(0)


def _status_mib(key: str) -> float:
    line = next(line for line in (PROC / 'status').read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024
