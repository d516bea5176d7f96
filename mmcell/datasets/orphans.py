"""Ends the workers of a data loader when the process that started them was killed."""

import functools
import multiprocessing
import os
import threading
import time

from torch.utils.data import get_worker_info

_INTERVAL_S = 1.


def end_with_parent() -> None:
    """Makes this process end soon after its parent, if it is a worker of a data loader.

    Workers themselves look at their parent only between two samples. A worker that has sent a large sample, such as one
    with label maps, waits until somebody receives it, and would wait for ever, with all memory that it shares.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and get_worker_info() is not None:
        _start_watching(os.getpid(), parent.pid)


@functools.cache
def _start_watching(own_pid: int, parent_pid: int) -> None:
    """Starts a thread for a process, only in the first call: a forked process does not inherit threads."""
    threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_INTERVAL_S)
    os._exit(1)
