"""Several processes of one command: how they are connected, and how they end."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def is_first_process() -> bool:
    """Returns whether this process is the only one or the first one, before the processes are connected."""
    return os.environ.get('RANK', '0') == '0'


def refuse_wrong_launcher(launcher: str) -> None:
    """Raises an error if --launcher does not fit how this process was started.

    Raises:
        MmcellError: --launcher is pytorch, but torchrun did not start the process; or it is none, but torchrun started
            several processes.
    """
    started_by_torchrun = 'RANK' in os.environ and 'WORLD_SIZE' in os.environ
    if launcher == 'pytorch' and not started_by_torchrun:
        raise MmcellError(f'--launcher pytorch needs processes of torchrun: start with torchrun --nproc-per-node N '
                          f'{" ".join(sys.argv)}')
    if launcher == 'none' and started_by_torchrun and os.environ['WORLD_SIZE'] != '1':
        raise MmcellError(f'{os.environ["WORLD_SIZE"]} processes would each do the whole work: add --launcher pytorch')


def use_gloo_without_gpu(cfg: 'Config') -> str:
    """Changes a config so that several processes without a GPU can train and test, which MMEngine does not foresee.

    MMEngine's launchers need CUDA. Without it, :func:`processes` connects the processes over gloo, and MMEngine gets a
    model wrapper that names no devices.

    Returns:
        The launcher whose processes :func:`processes` must connect: 'none' if there is only one process, or if there
        are GPUs, because MMEngine connects the processes then, when the runner is built.

    Raises:
        MmcellError: Processes without a GPU were started by another launcher than torchrun.
    """
    from mmengine.device import get_device
    if cfg.launcher == 'none' or get_device() != 'cpu':
        return 'none'
    if cfg.launcher != 'pytorch':
        raise MmcellError(f'--launcher {cfg.launcher} needs GPUs; without GPUs start with torchrun '
                          '--nproc-per-node N … --launcher pytorch')
    cfg.env_cfg.dist_cfg = dict(backend='gloo')
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                 find_unused_parameters=cfg.get('find_unused_parameters', False))
    return cfg.launcher


def describe_idle_cores(n_processes: int, n_threads: int, n_cores: int) -> str | None:
    """Returns a sentence if processes on one machine use fewer cores than it has, or more threads than cores."""
    n_used, n_suitable = n_processes * n_threads, max(n_cores // n_processes, 1)
    if n_used == n_cores or n_threads == n_suitable:
        return None
    return (f'{n_processes} processes compute with {n_threads} {"thread" if n_threads == 1 else "threads"} each on '
            f'{n_cores} cores: OMP_NUM_THREADS={n_suitable} torchrun … is faster')


def warn_of_idle_cores() -> None:
    """Prints :func:`describe_idle_cores` in the first process, if the processes compute on the CPU.

    torchrun gives each process one thread, unless OMP_NUM_THREADS is set.
    """
    import torch
    if torch.cuda.is_available() or not is_first_process():
        return
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    sentence = describe_idle_cores(int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.get_num_threads(), n_cores)
    if sentence is not None:
        print(f'note: {sentence}', file=sys.stderr)


@contextmanager
def processes(launcher: str, timeout: timedelta | None = None) -> Iterator[tuple[int, int]]:
    """Connects this process with the others over gloo for the block, and disconnects it after the block.

    Processes that MMEngine connects inside the block are disconnected as well.

    Args:
        launcher: 'pytorch' if torchrun started the processes; 'none' if nothing is to be connected.
        timeout: How long a process waits for the others; None: as long as torch's default.

    Yields:
        The rank of this process, and the number of processes.
    """
    from torch import distributed
    if launcher != 'none':
        distributed.init_process_group('gloo', timeout=timeout)
        warn_of_idle_cores()
    yield (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    # After an error this is skipped: the other processes may wait inside the block, and would never come here.
    if distributed.is_initialized():
        # A model that still refers to the process group when the interpreter ends can make the interpreter abort,
        # because threads of the group are still running then.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()
        # Metrics of other packages exchange their results through files in this folder, and do not remove it.
        with suppress(OSError):
            Path('.dist_test').rmdir()


def stop_workers(runner: 'Runner') -> None:
    """Ends the worker processes of the runner's data loaders.

    Persistent workers that are left to the garbage collector take five seconds each to end.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        for holder in (getattr(loop, 'dataloader', None), getattr(loop, 'dataloader_iterator', None)):
            if hasattr(holder, '_iterator'):
                holder._iterator = None
