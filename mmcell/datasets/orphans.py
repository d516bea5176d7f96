"""Ends the workers of a data loader when nobody can receive their samples any more."""

import functools
import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.queues import Queue

from torch.utils.data import get_worker_info

_INTERVAL_S = 1.


def end_with_parent() -> None:
    """Makes this process end soon after its parent, if it is a worker of a data loader.

    Workers themselves look at their parent only between two samples. A worker that has sent a large sample, such as one
    with label maps, waits until somebody receives it, and would wait for ever, with all memory that it shares.

    A worker that cannot send a sample, because it may not open more files, ends too: it would drop the sample, and its
    parent would wait for it for ever. Python's thread that sends the handles of shared memory
    (``multiprocessing.resource_sharer``) would only print the traceback.
    """
    if multiprocessing.parent_process() is not None and get_worker_info() is not None:
        Queue._on_queue_feeder_error = staticmethod(_end_without_sending)
        sys.excepthook = lambda _, error, __: _end_without_sending(error)
        _start_watching(os.getpid())


@functools.cache
def _start_watching(own_pid: int) -> None:
    """Starts a thread for a process, only in the first call: a forked process does not inherit threads."""
    threading.Thread(target=_watch, args=(multiprocessing.parent_process(), os.getppid()), daemon=True).start()


def _watch(parent: multiprocessing.process.BaseProcess, system_parent_pid: int) -> None:
    # ``parent`` is the process that asked for this one. With forkserver, the system calls the fork server its parent,
    # which lives on. With fork, workers hold one another's pipes open, so that ``parent`` seems alive for too long.
    while os.getppid() == system_parent_pid and parent.is_alive():
        time.sleep(_INTERVAL_S)
    os._exit(1)


def _end_without_sending(error: BaseException, sample: object = None) -> None:
    print(f'a worker of a data loader cannot send a sample: {error}', file=sys.stderr, flush=True)
    os._exit(1)
