"""Runs the commands of the project in processes of their own."""

import contextlib
import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from unittest import mock

from support.fork_server import FRAMEWORK, SERVER
from support.paths import REPO

CONFIG = 'configs/cell/mask-rcnn_r18_demo.py'
TINY = ['train_dataloader.sampler.times=1', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0', 'param_scheduler.0.end=2',
        'model.test_cfg.rcnn.score_thr=0.', 'model.test_cfg.rcnn.max_per_img=20']
TORCHRUN = ['-m', 'torch.distributed.run', '--nproc-per-node', '2']

SERVER.set_forkserver_preload(FRAMEWORK)


def run(*command, cwd=REPO):
    """Runs Python with these arguments; returns output and error output as one text; fails if Python fails."""
    # Each process gets one thread: if other programs also compute, threads that wait for one another take much longer.
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def run_quickly(script, *arguments, cwd=REPO):
    """Runs a script of this project as :func:`run` does, in a process that has imported MMDetection already."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    arguments = [str(argument) for argument in arguments]
    process = SERVER.Process(target=_run_script, args=(str(REPO / script), arguments, str(cwd), sender))
    process.start()
    sender.close()
    try:
        output = receiver.recv()
    except EOFError:
        output = 'the process died'
    process.join()
    assert process.exitcode == 0, output[-6000:]
    return output


def _run_script(path, arguments, cwd, sender):
    os.chdir(cwd)
    sys.argv = [path, *arguments]
    sys.path[0] = str(Path(path).parent)
    printed, status = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as end:
            status = _exit_status(end.code)
        except BaseException:
            traceback.print_exc()
            status = 1
    sender.send(printed.getvalue())
    sys.exit(status)


def read_log(work_dir):
    """Returns the text of the newest log file in a work folder."""
    return max(Path(work_dir).glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()


def call(script, *arguments):
    """Runs a script of this project in this process, without the time for its imports.

    Returns:
        A ``CompletedProcess``, as if the command had been run by ``subprocess.run``: exit status, output, error output.
    """
    command = [script, *map(str, arguments)]
    printed, errors = io.StringIO(), io.StringIO()
    with mock.patch('sys.argv', command), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            status = _exit_status(load_command(script).main())
        except SystemExit as end:
            status = _exit_status(end.code)
    return subprocess.CompletedProcess(command, status, printed.getvalue(), errors.getvalue())


@cache
def load_command(script):
    """Returns the module of a script of this project."""
    name = Path(script).stem
    if name != 'test':
        return import_module(name)
    # Python's standard library has a package called test, too.
    spec = spec_from_file_location('test_command', REPO / script)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convert(*args):
    """Runs data_prep/to_coco.py as :func:`call` does, without other processes."""
    return call('data_prep/to_coco.py', '--jobs', '1', *args)


def _exit_status(value):
    """Returns the exit status that ``sys.exit(value)`` leads to; a text is printed, as Python does."""
    if isinstance(value, str):
        print(value, file=sys.stderr)
        return 1
    return value or 0
