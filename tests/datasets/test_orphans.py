import multiprocessing
import os
import queue
import re
import resource
import signal
import sys
import time
from multiprocessing import resource_sharer
from multiprocessing.queues import Queue
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.running_processes import is_running, wait_until_all_have_ended

from mmcell.commands.messages import describe_error
from mmcell.datasets import orphans
from mmcell.datasets.orphans import end_with_parent
from mmcell.files import orphans as file_orphans


class LargeSamples(torch.utils.data.Dataset):
    """Samples that a pipe does not hold, with the process that loaded them."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        end_with_parent()
        return os.getpid(), np.zeros(1_000_000, np.uint8)


def load_one_sample(sender, method):
    loader = iter(torch.utils.data.DataLoader(LargeSamples(), batch_size=None, num_workers=2, collate_fn=list,
                                              multiprocessing_context=method))
    sender.send([next(loader)[0] for _ in range(2)])
    time.sleep(100)


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='looks at processes in /proc')
@pytest.mark.parametrize('method', ['fork', pytest.param('forkserver', marks=pytest.mark.slow)])
def test_workers_end_after_their_parent_was_killed(monkeypatch, method):
    monkeypatch.setattr(file_orphans, '_INTERVAL_S', .05)
    # A forked process would have the fork server of this one.
    context = multiprocessing.get_context('fork' if method == 'fork' else 'spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=load_one_sample, args=(sender, method))
    process.start()
    workers = receiver.recv()
    assert all(map(is_running, workers))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait_until_all_have_ended(workers)


def test_a_worker_of_a_fork_server_ends_after_the_process_that_asked_for_it(monkeypatch):
    exit_codes, alive = queue.SimpleQueue(), iter([True, True, False])
    monkeypatch.setattr(file_orphans, '_INTERVAL_S', .01)
    monkeypatch.setattr(orphans, 'get_worker_info', object)
    # What a worker sets, and this process must not keep.
    monkeypatch.setattr(Queue, '_on_queue_feeder_error', Queue._on_queue_feeder_error)
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    monkeypatch.setattr(os, '_exit', exit_codes.put)
    # The system's parent is another process, which lives on.
    parent = SimpleNamespace(pid=os.getppid() + 1, is_alive=lambda: next(alive))
    monkeypatch.setattr(multiprocessing, 'parent_process', lambda: parent)
    file_orphans._start_watching.cache_clear()
    for _ in range(2):
        end_with_parent()
    assert exit_codes.get(timeout=10) == 1 and next(alive, None) is None
    file_orphans._start_watching.cache_clear()


def test_no_thread_starts_outside_of_workers(monkeypatch):
    monkeypatch.setattr(file_orphans, '_start_watching', lambda pid: pytest.fail('a thread was started'))
    end_with_parent()


class UnsendableSamples(torch.utils.data.Dataset):
    """Samples for which a worker needs more open files than it may have."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        end_with_parent()
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with pytest.raises(OSError, match='Too many open files'):
            while True:
                os.open(os.devnull, os.O_RDONLY)
        return torch.zeros(1000)


def load_in_vain(dataset, options, sender):
    try:
        next(iter(torch.utils.data.DataLoader(dataset, num_workers=1, timeout=60, **options)))
    except (RuntimeError, OSError, EOFError) as error:
        sender.send(error)


def error_of_loading(dataset, **options):
    """Loads a sample with one worker, which fails, in a process of its own; returns the error that it ends with."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=load_in_vain, args=(dataset, options, sender))
    process.start()
    sender.close()
    error = receiver.recv()
    process.join()
    return error


def test_a_worker_that_cannot_send_a_sample_ends_the_command(capfd):
    error = error_of_loading(UnsendableSamples(), collate_fn=list)
    assert isinstance(error, RuntimeError)
    message = describe_error(error)
    assert re.search(r'a worker of a data loader cannot send a sample: .*[Tt]oo many open files.*ulimit -n',
                     capfd.readouterr().err)
    assert message.startswith('DataLoader worker (pid') and '\n' not in message
    assert message.endswith('; what it said about the reason stands above')
    killed = describe_error(RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '))
    assert killed.startswith('DataLoader worker (pid 7) is killed by signal: Killed. A worker')


class UnsharableSamples(torch.utils.data.Dataset):
    """Samples in shared memory, whose handles a thread of the worker cannot send."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        end_with_parent()
        resource_sharer._resource_sharer.register = register_without_content
        return torch.zeros(1000)


def register_without_content(send, close):
    """Registers a handle, and forgets it, so that the thread that sends it finds nothing."""
    sharer = resource_sharer._resource_sharer
    address, key = type(sharer).register(sharer, send, close)
    del sharer._cache[key]
    return address, key


def test_a_thread_that_cannot_send_a_handle_prints_no_traceback(capfd):
    error_of_loading(UnsharableSamples())
    printed = capfd.readouterr().err
    assert 'a worker of a data loader cannot send a sample: ' in printed and 'Traceback' not in printed
