"""The project's commands, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from support.paths import REPO

CONFIG = 'configs/cell/mask-rcnn_r18_demo.py'
TINY = ['train_dataloader.sampler.times=1', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0', 'param_scheduler.0.end=2',
        'model.test_cfg.rcnn.score_thr=0.', 'model.test_cfg.rcnn.max_per_img=20']
TORCHRUN = ['-m', 'torch.distributed.run', '--nproc-per-node', '2']


def run(*command, cwd=REPO):
    # One thread a process: where others compute too, threads that wait for one another cost many times more.
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def read_log(work_dir):
    """The text of the newest log file in a work folder."""
    return max(Path(work_dir).glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()


def convert(*args):
    command = [sys.executable, str(REPO / 'data_prep' / 'to_coco.py'), '--jobs', '1', *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
