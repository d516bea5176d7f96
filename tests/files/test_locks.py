"""Only one process trains in a work folder."""

import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
from support.commands import CONFIG, call
from support.paths import REPO

from mmcell.files.locks import FolderInUseError, working_alone

HOLD = """
import os, sys
from mmcell.files.locks import working_alone
with working_alone(sys.argv[1], 'training'):
    if os.fork():
        print('inside', flush=True)
        input()
        os._exit(0)
    input()  # a worker, which lives longer
"""


def start(folder):
    process = subprocess.Popen([sys.executable, '-c', HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline() == 'inside\n'
    return process


def test_only_one_process_works_in_a_folder(tmp_path):
    first = start(tmp_path)
    with pytest.raises(FolderInUseError, match=rf'another training .*process {first.pid} of the computer'), \
            working_alone(tmp_path, 'training'):
        pytest.fail('both are in the folder')
    (tmp_path / 'other').mkdir()
    with working_alone(tmp_path / 'other', 'training'):
        pass
    first.kill()
    first.wait()
    # Its child still runs.
    with working_alone(tmp_path, 'training'):
        pass
    first.stdin.close()


def test_the_folder_is_free_after_the_block_also_after_an_error(tmp_path):
    with pytest.raises(KeyError), working_alone(tmp_path, 'training'):
        raise KeyError
    start(tmp_path).communicate('\n')


def test_a_second_training_is_refused(tmp_path):
    first = start(tmp_path)
    runner = SimpleNamespace(work_dir=str(tmp_path), train=lambda: pytest.fail('both train in the folder'))
    with mock.patch('mmcell.framework.console.ConsoleRunner.from_cfg', return_value=runner):
        ended = call('tools/train.py', REPO / CONFIG, '--work-dir', tmp_path)
    assert ended.returncode == 1 and 'another training works in this folder' in ended.stderr
    first.communicate('\n')


def test_a_disk_without_locks_is_used_nevertheless(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(95, 'Operation not supported')
    monkeypatch.setattr('fcntl.lockf', refuse)
    with working_alone(tmp_path, 'training'):
        (tmp_path / 'done').touch()
