"""Worker processes of data loaders that compute with one thread each."""

from collections.abc import Callable
from functools import partial

import cv2
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader


def use_one_thread_per_worker(loader: DataLoader) -> DataLoader:
    """Makes each worker process of a data loader compute with one thread, and returns the loader.

    torch limits only its own threads in workers. The linear algebra of NumPy and SciPy starts as many threads as there
    are cores in each worker, which then compete with one another and with the training.
    """
    if loader.num_workers:
        loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)
    return loader


def _start_worker(initialize: Callable[[int], None] | None, worker_id: int) -> None:
    threadpool_limits(1)
    cv2.setNumThreads(0)
    if initialize is not None:
        initialize(worker_id)
