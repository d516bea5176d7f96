"""Commands work in poor surroundings: no home folder, another locale, a read-only checkout, no network."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.paths import REPO

# Python imports this module before any other code. Only sockets between processes of this machine are left.
GUARD = """
import os, socket

def refuse(*args, **kwargs):
    with open(os.environ['ATTEMPTS'], 'a') as file:
        file.write(repr(args))
    raise OSError('no network')

class Guarded(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == getattr(socket, 'AF_UNIX', None) else refuse(address)
    connect_ex = connect

socket.socket, socket.getaddrinfo, socket.gethostbyname = Guarded, refuse, refuse
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of the sources whose files and folders cannot be written, except by root; the files in it."""
    copy = tmp_path / 'checkout'
    for folder in ('mmcell', 'tools', 'data_prep', 'configs'):
        shutil.copytree(REPO / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__'))
    files = list_files(copy)
    paths = [copy, *copy.rglob('*')]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield copy, files
    for path in paths:
        path.chmod(0o755)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script of the checkout in a process of its own; returns the finished process."""
    for name in ('PYTHONDONTWRITEBYTECODE', 'PYTHONUTF8', 'PYTHONIOENCODING'):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / 'guard').mkdir()
    (tmp_path / 'guard' / 'sitecustomize.py').write_text(GUARD)
    (tmp_path / 'here').mkdir()

    def run_script(checkout, script, *arguments, unset=(), **variables):
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path / 'guard'), str(checkout)]),
               'ATTEMPTS': str(tmp_path / 'attempts'), 'OMP_NUM_THREADS': '1', **variables}
        return subprocess.run([sys.executable, script, *map(str, arguments)], cwd=tmp_path / 'here', check=False,
                              capture_output=True, env={name: env[name] for name in env if name not in unset})
    return run_script


def list_files(folder):
    """The files below a folder, without Python's own: it writes __pycache__ where it may, and works without."""
    return {path.relative_to(folder) for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


def succeed(process):
    assert process.returncode == 0, (process.stdout + process.stderr).decode('utf-8', 'replace')


@pytest.mark.parametrize('home', [None, 'missing'])
def test_no_home_folder_is_needed(raw_root, tmp_path, run, home):
    settings = dict(unset=['HOME']) if home is None else dict(HOME=str(tmp_path / home))
    succeed(run(REPO, REPO / 'data_prep/to_coco.py', raw_root[0], '--out', tmp_path / 'out', '--jobs', '1', **settings))
    assert json.loads((tmp_path / 'out' / 'train.json').read_text())['annotations']
    assert not (tmp_path / 'missing').exists()


def test_names_outside_ascii_are_read_and_written_in_the_c_locale(raw_root, tmp_path, run):
    root, _ = raw_root
    (root / 'train' / 'a').rename(root / 'train' / 'zellkern_ä中')
    succeed(run(REPO, REPO / 'data_prep/to_coco.py', root, '--out', tmp_path / 'out', '--jobs', '1', LC_ALL='C'))
    content = json.loads((tmp_path / 'out' / 'train.json').read_text(encoding='utf-8'))
    assert any('zellkern_ä中' in image['file_name'] for image in content['images'])


@pytest.mark.parametrize('script', ['data_prep/to_coco.py', 'tools/evaluate.py'])
def test_help_writes_nothing(tmp_path, checkout, run, script):
    folder, files = checkout
    succeed(run(folder, folder / script, '--help', unset=['HOME'], LC_ALL='C'))
    assert list_files(folder) == files and not list_files(tmp_path / 'here')


def test_a_conversion_and_an_evaluation_in_all_of_these_surroundings(raw_root, tmp_path, checkout, run):
    folder, files = checkout
    (tmp_path / 'a_file').write_text('')  # not even root can make a folder below a file
    settings = dict(HOME=str(tmp_path / 'a_file' / 'home'), LC_ALL='C')
    train = tmp_path / 'out' / 'train.json'
    succeed(run(folder, folder / 'data_prep/to_coco.py', raw_root[0], '--out', train.parent, '--jobs', '1', **settings))
    cells = [{**cell, 'score': .9} for cell in json.loads(train.read_text())['annotations']]
    (tmp_path / 'results.json').write_text(json.dumps(cells))
    values, report = tmp_path / 'metrics.json', tmp_path / 'report.html'
    succeed(run(folder, folder / 'tools/evaluate.py', tmp_path / 'results.json', train, '--out', values,
                '--overlays', tmp_path / 'worst', '--report', report, **settings))
    assert '"AP50": 1.0' in values.read_text() and report.stat().st_size > 10_000
    assert list_files(folder) == files and not list_files(tmp_path / 'here')
    assert not (tmp_path / 'attempts').exists()


def test_the_guard_notices_a_connection(tmp_path, run):
    (tmp_path / 'connect.py').write_text('import socket\nsocket.create_connection(("192.0.2.1", 9), timeout=1)')
    assert b'no network' in run(REPO, tmp_path / 'connect.py').stderr and (tmp_path / 'attempts').exists()
