"""The endings of a command: exit statuses and messages, for one command that fails in every way."""

import argparse
import contextlib
import errno
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import OPTIMIZERS, TRANSFORMS
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from support.paths import REPO

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import MmcellError


@pytest.fixture
def fail(capsys):
    """Runs a command whose work raises an error; returns its exit status and its error output."""
    def run(error, **options):
        def carry_out(args):
            if isinstance(error, BaseException):
                raise error
            error()
        status = run_command(argparse.Namespace, carry_out, **options)
        return status, capsys.readouterr().err
    return run


def with_note(error, note):
    error.add_note(note)
    return error


def of_worker(error):
    """An error of a worker of a data loader, as torch raises it again in the main process."""
    name = type(error).__name__
    return type(error)(f'Caught {name} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
                       f'  File "x.py", line 1, in f\n{name}: {error}\n')


@pytest.mark.parametrize('error, message', [
    (MmcellError('two\nlines and \x1b'), 'two\nlines and \\x1b'),
    (with_note(MmcellError('bad'), 'nothing was written'), 'bad\nnothing was written'),
    (FileNotFoundError('no image file a.tif'), 'no image file a.tif'),
    (FileNotFoundError(errno.ENOENT, 'No such file', 'a\nb'), r'no such file or folder: a\nb'),
    (PermissionError(errno.EACCES, 'Permission denied', 'x/y.json'), 'x/y.json: Permission denied'),
    (OSError(errno.ENOSPC, 'No space left on device'), 'No space left on device'),
    (OSError(errno.EROFS, 'Read-only file system', 'out'), 'out: Read-only file system'),
    (of_worker(FileNotFoundError('no image file a.tif')), 'no image file a.tif'),
    (of_worker(FileNotFoundError(errno.ENOENT, 'No such file or directory', 'a.tif')),
     "No such file or directory: 'a.tif'"),
    (of_worker(OSError(errno.EIO, 'Input/output error', 'a.tif')), "Input/output error: 'a.tif'"),
    (RuntimeError('unable to allocate shared memory(shm) for file </torch_12_34>: No space left on device (28)'),
     'unable to allocate shared memory(shm) for file </torch_12_34>: No space left on device (28)'),
])
def test_errors_that_users_can_correct_end_in_a_message(fail, error, message):
    assert fail(error) == (ExitStatus.FAILED, f'error: {message}\n')


def test_the_middle_of_a_very_long_line_is_left_out(fail):
    _, message = fail(MmcellError(f'a.xml: unknown encoding {"n" * 100_000}: save it as UTF-8\nsecond line'))
    first, second, end = message.split('\n')
    assert first.startswith('error: a.xml: unknown encoding nnn') and first.endswith('n: save it as UTF-8')
    assert len(first) < 3100 and (second, end) == ('second line', '')


SHARED_MEMORY = 'unable to open shared memory object </torch_12_34> in read-write mode: Too many open files (24)'


@pytest.mark.parametrize('error', [
    RuntimeError(SHARED_MEMORY), of_worker(RuntimeError(SHARED_MEMORY)), RuntimeError('received 0 items of ancdata'),
    RuntimeError('Too many open files. Communication with the workers is no longer possible. Please increase'),
    of_worker(OSError(errno.EMFILE, 'Too many open files', 'a.tif')), OSError(errno.EMFILE, 'Too many open files')])
def test_too_many_open_files_of_workers(fail, error):
    status, message = fail(error)
    assert status == ExitStatus.FAILED and message.lower().startswith('error: too many open files: ')
    assert 'ulimit -n' in message
    assert message.count('\n') == 1


@pytest.mark.parametrize('error', [
    ValueError('operands could not be broadcast together'), TypeError('set is not JSON serializable'),
    OSError(errno.EBADF, 'Bad file descriptor'), OSError('handle is closed'), RuntimeError('CUDA error'),
    RuntimeError('wrong sizes: 3 and 4 (24)'), RuntimeError('cannot reserve: bytes wanted (99999999999)'),
    of_worker(OSError(errno.EBADF, 'Bad file descriptor'))])
def test_unexpected_errors_keep_their_traceback(fail, error):
    with pytest.raises(type(error)):
        fail(error)


def test_a_worker_that_died_is_no_closed_pipe(fail):
    def send_to_nobody():
        receiver, sender = multiprocessing.Pipe(duplex=False)
        receiver.close()
        sender.send('work')
    with pytest.raises(BrokenPipeError):
        fail(send_to_nobody)


def test_an_error_of_numpy_is_no_message_about_an_input(fail):
    with pytest.raises(ValueError, match='broadcast'):
        fail(lambda: np.zeros(2) + np.zeros(3))


def test_ctrl_c(fail):
    assert fail(KeyboardInterrupt()) == (130, 'interrupted\n')
    assert fail(KeyboardInterrupt(), after_interrupt=': go on') == (130, 'interrupted: go on\n')


def test_ctrl_c_that_a_package_swallows(fail):
    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def carry_out():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy.linalg' has no attribute '_umath_linalg'")
    assert fail(carry_out) == (130, 'interrupted\n')
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Python waits for threads before it calls other functions.
WAIT = 'threading.Thread(target=lambda: (time.sleep(.5), signal.raise_signal(signal.SIGINT), time.sleep(.5))).start()'


@pytest.mark.parametrize('before', ['', WAIT], ids=['function', 'thread'])
@pytest.mark.parametrize('end, status, message', [
    ('return 0', 0, ''), ('return 1', 1, ''), ('raise MmcellError("wrong")', 1, 'error: wrong\n'),
    ('raise KeyboardInterrupt', 130, 'interrupted\n')])
def test_ctrl_c_while_python_ends(before, end, status, message):
    program = textwrap.dedent(f"""
        import argparse, atexit, signal, sys, threading, time
        from mmcell.commands.shell import run_command
        from mmcell.errors import MmcellError

        def work(args):
            atexit.register(signal.raise_signal, signal.SIGINT)
            atexit.register(print, 'the other functions run')
            {before}
            {end}

        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(run_command(argparse.Namespace, work))
        """)
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=REPO)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, 'the other functions run\n', message)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs a device that is always full')
def test_a_log_on_a_full_disk_is_named_once(capsys):
    def work(_):
        logger = logging.Logger('x')
        logger.addHandler(logging.FileHandler('/dev/full'))
        for _ in range(3):
            logger.warning('a record')
        raise MmcellError('no room')
    assert run_command(argparse.Namespace, work) == ExitStatus.FAILED
    assert capsys.readouterr().err == ('warning: the log /dev/full cannot be written: No space left on device\n'
                                       'error: no room\n')


@pytest.mark.parametrize('returned, status', [(None, 0), (ExitStatus.PARTLY, 3), (1, 1)])
def test_the_work_returns_the_status(returned, status):
    assert run_command(argparse.Namespace, lambda args: returned) == status


def test_help_names_the_statuses_of_a_command():
    text = make_parser('Does it.', 'example:\n  it\n', 'it is done').format_help()
    assert text.endswith('Exit status: 0 if it is done, 1 if not, 2 if the command line is wrong, 130 after Ctrl-C.\n')
    assert '3 if some failed, 1 if all failed, 2' in make_parser('', '', '…', 'all failed', 'some failed').format_help()


def print_to(stream, n_lines, unbuffered):
    """Runs a command that prints lines to a stream; returns its exit status and its error output."""
    code = (f'import argparse, sys\nfrom mmcell.commands.shell import run_command\n'
            f'def work(args):\n    for _ in range({n_lines}): print("a line of the table")\n'
            'sys.exit(run_command(argparse.Namespace, work))')
    ended = subprocess.run([sys.executable, '-c', code], stdout=stream, stderr=subprocess.PIPE, text=True, check=False,
                           env={**os.environ, 'PYTHONUNBUFFERED': unbuffered})
    return ended.returncode, ended.stderr


# One line in a buffer is written when the command ends; of many, the first are written while it runs.
ways_to_print = pytest.mark.parametrize(('n_lines', 'unbuffered'), [(1, ''), (100_000, ''), (1, '1')])


@ways_to_print
def test_a_closed_pipe_ends_a_command_in_silence(n_lines, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, 'w') as stream:
        assert print_to(stream, n_lines, unbuffered) == (1, '')


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='only Linux has a device that is always full')
@ways_to_print
def test_a_full_disk_under_standard_output(n_lines, unbuffered):
    with open('/dev/full', 'w') as stream:
        assert print_to(stream, n_lines, unbuffered) == (1, 'error: No space left on device\n')


def test_standard_output_prints_characters_that_it_lacks(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr('sys.stdout', stream)
    run_command(argparse.Namespace, lambda args: print('zelle_\xe4 \udce4'))
    assert stream.buffer.getvalue() == f'zelle_\\xe4 \\udce4{os.linesep}'.encode()


@TRANSFORMS.register_module()
class TransformWithAMistake:
    def __init__(self, radius):
        self.kernel = [0] * radius
        self.center = self.kernel[radius]


PARAMETERS = [torch.nn.Parameter(torch.ones(1))]
LOADER = dict(dataset=[1, 2], sampler=dict(type='DefaultSampler'), collate_fn=dict(type='pseudo_collate'))


@pytest.mark.parametrize('build, message', [
    (lambda: OPTIMIZERS.build(dict(type='SGD', lr=.1, betas=(.9, .999), params=PARAMETERS)),
     "'betas'. Remove this setting from the config; on the command line, replace the whole dict: "
     "KEY=\"{'_delete_': True"),
    (lambda: OPTIMIZERS.build(dict(type='SGD', lr='abc', params=PARAMETERS)),
     "the config cannot be used: SGD(lr='abc') cannot be built: TypeError: "),
    (lambda: OPTIMIZERS.build(dict(type='SDG', lr=.1)),
     "the config has type='SDG', but there is no class of this name"),
    (lambda: OPTIMIZERS.build(dict(lr=.1)), 'must contain the key "type"'),
    (lambda: Runner.build_dataloader(dict(**LOADER, batch_size=0)), 'a data loader cannot be built: ValueError: '),
    (lambda: TRANSFORMS.build(dict(type='TransformWithAMistake', radius=3)),
     'TransformWithAMistake(radius=3) cannot be built: IndexError: list index out of range (test_shell.py, line '),
])
def test_what_cannot_be_built_from_a_config_ends_in_one_line(fail, build, message):
    status, errors = fail(build)
    assert status == 1 and errors.startswith('error: ') and message in errors and errors.count('\n') == 1


def test_the_log_of_a_run_has_the_traceback(fail, tmp_path):
    log = tmp_path / 'run.log'
    logger = MMLogger.get_instance('with_a_file', log_file=str(log), log_level='CRITICAL')
    try:
        _, errors = fail(lambda: TRANSFORMS.build(dict(type='TransformWithAMistake', radius=3)))
        assert f'; the traceback is in {log})' in errors
        with pytest.raises(ZeroDivisionError):
            fail(lambda: 1 / 0)
    finally:
        for handler in logger.handlers:
            handler.close()
        MMLogger._instance_dict.pop('with_a_file')
    text = log.read_text()
    assert 'self.center = self.kernel[radius]' in text and text.count('Traceback (most recent call last)') == 2
    assert 'ZeroDivisionError' in text
