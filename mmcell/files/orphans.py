"""Ends processes when nobody needs their results any more."""

import functools
import multiprocessing
import os
import threading
import time

_INTERVAL_S = 1.


def end_after_parent() -> None:
    """Makes this process end soon after the one that asked for it, whatever ended that one.

    Workers of pools wait for work at a pipe that they themselves hold open: if their parent is killed, they would wait
    for ever. Without a parent, nothing happens.
    """
    if multiprocessing.parent_process() is not None:
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
