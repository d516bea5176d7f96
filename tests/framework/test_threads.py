"""Workers of data loaders compute with one thread each, whatever the process that starts them uses."""

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch.utils.data import DataLoader, Dataset

from mmcell.framework.console import ConsoleRunner
from mmcell.framework.threads import use_one_thread_per_worker


class ThreadCounts(Dataset):
    """Each sample is the largest number of threads of a library in the process, and a random number."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        np.linalg.norm(np.eye(3) @ np.eye(3))
        largest = max(library['num_threads'] for library in threadpool_info())
        return max(largest, torch.get_num_threads(), cv2.getNumThreads()), float(np.random.random())


def largest_counts(loader):
    # Three threads, so that the test can fail also where the environment sets one thread.
    with threadpool_limits(3):
        cv2.setNumThreads(3)
        return [sample[0][0].item() for sample in loader]


def test_each_worker_has_one_thread():
    assert largest_counts(DataLoader(ThreadCounts(), num_workers=1)) == [3, 3]
    assert largest_counts(use_one_thread_per_worker(DataLoader(ThreadCounts(), num_workers=1))) == [1, 1]


def test_the_process_itself_keeps_its_threads():
    assert max(largest_counts(use_one_thread_per_worker(DataLoader(ThreadCounts())))) == 3


def test_loaders_of_a_runner_start_such_workers_with_their_seed():
    loader = ConsoleRunner.build_dataloader(dict(
        dataset=ThreadCounts(), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=1, num_workers=1,
        collate_fn=dict(type='default_collate')), seed=5)
    samples = list(loader)
    assert [sample[0].item() for sample in samples] == [1, 1]
    assert samples[0][1].item() == np.random.RandomState(5).random()
