"""Ends the workers of a data loader when nobody can receive their samples any more."""

import multiprocessing
import os
import sys
from multiprocessing.queues import Queue

from torch.utils.data import get_worker_info

from mmcell.commands.messages import describe_error
from mmcell.files.orphans import end_after_parent


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
        end_after_parent()


def _end_without_sending(error: Exception, sample: object = None) -> None:
    print(f'a worker of a data loader cannot send a sample: {describe_error(error) or repr(error)}', file=sys.stderr,
          flush=True)
    os._exit(1)
