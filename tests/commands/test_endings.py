"""Every command ends in the same ways, with the same exit statuses."""

import errno
import os
import subprocess
import sys
from unittest import mock

import pytest
from support.command_reference import COMMANDS
from support.commands import call, load_command
from support.paths import REPO

from mmcell.commands.shell import run_command
from mmcell.errors import MmcellError

# A command line of each command, with names of files that do not exist.
ARGUMENTS = {
    'data_prep/to_coco.py': ['nowhere', '--jobs', '1'],
    'data_prep/from_coco.py': ['nowhere.json', '--out', 'out'],
    'data_prep/repair_coco.py': ['nowhere.json', '--out', 'new.json'],
    'data_prep/inspect_dataset.py': ['nowhere.json', '--jobs', '1'],
    'data_prep/make_demo_data.py': ['a_file/nowhere', '--images', '1', '--size', '32'],
    'tools/browse.py': ['nowhere.json'],
    'tools/anchor_recall.py': ['nowhere.py'],
    'tools/convert_torchvision.py': ['nowhere.pth', '--out', 'new.pth'],
    'tools/train.py': ['nowhere.py'],
    'tools/test.py': ['nowhere.py', 'nowhere.pth'],
    'tools/study.py': ['nowhere.py', '--out', 'out'],
    'tools/half_weights.py': ['nowhere.pth'],
    'tools/export_model.py': ['nowhere.pth', '--out', 'new.safetensors'],
    'tools/evaluate.py': ['nowhere.pkl', 'nowhere.json'],
    'tools/submit.py': ['nowhere.pkl', '--annotations', 'nowhere.json'],
    'tools/ensemble.py': ['nowhere.pkl', '--out', 'new.pkl'],
    'tools/predict.py': ['nowhere.pth', 'nowhere.tif', '--out', 'out'],
    'tools/overlay.py': ['nowhere.pkl', '--annotations', 'nowhere.json', '--out', 'out'],
    'tools/curves.py': ['nowhere', '--out', 'new.png'],
    'tools/report.py': ['nowhere.pkl', '--annotations', 'nowhere.json', '--out', 'new.html'],
    'tools/mmdet_tool.py': ['nowhere'],
}
NO_SPACE = OSError(errno.ENOSPC, 'No space left on device', 'out/a.json')
NO_PERMISSION = PermissionError(errno.EACCES, 'Permission denied', 'out/a.json')
every_command = pytest.mark.parametrize('script', COMMANDS)


@pytest.fixture(autouse=True)
def _in_a_folder_with_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a_file').write_text('')


def fail_with(script, error):
    """Runs a command in this process; its work raises the error instead of beginning."""
    def run_failing(parse_args, carry_out, **options):
        return run_command(parse_args, mock.Mock(side_effect=error), **options)
    with mock.patch.object(load_command(script), 'run_command', run_failing):
        return call(script, *ARGUMENTS[script])


@every_command
def test_a_missing_file_ends_in_a_message(script, tmp_path):
    ended = call(script, *ARGUMENTS[script])
    line, *notes = ended.stderr[ended.stderr.index('error: '):].splitlines()
    assert ended.returncode == 1 and 'nowhere' in line and notes in ([], ['nothing was written'])
    assert not list(tmp_path.glob('new*'))


@pytest.mark.parametrize('error, status, message', [
    (MmcellError('the files do not fit'), 1, 'error: the files do not fit\n'),
    (NO_SPACE, 1, 'error: out/a.json: No space left on device\n'),
    (NO_PERMISSION, 1, 'error: out/a.json: Permission denied\n'),
    (KeyboardInterrupt(), 130, 'interrupted'),
])
@every_command
def test_errors_of_users_and_ctrl_c_end_in_a_message(script, error, status, message):
    ended = fail_with(script, error)
    assert ended.returncode == status and ended.stderr.startswith(message) and ended.stderr.count('\n') == 1


@every_command
def test_an_unexpected_error_keeps_its_traceback(script):
    with pytest.raises(ValueError, match='could not be broadcast'):
        fail_with(script, ValueError('operands could not be broadcast together'))


@pytest.fixture(scope='module')
def without_packages(tmp_path_factory):
    """The environment of a process in which Ctrl-C comes as soon as a package is imported that other people made."""
    folder = tmp_path_factory.mktemp('packages')
    for name in ('cv2', 'matplotlib', 'mmcv', 'mmdet', 'mmengine', 'numpy', 'PIL', 'pycocotools', 'rich', 'scipy',
                 'shapely', 'tifffile', 'torch', 'torchvision'):
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text('raise KeyboardInterrupt')
    # A tool of MMDetection, as mmdet_tool.py finds it.
    (folder / 'tools').mkdir()
    (folder / 'tools' / 'nowhere.py').write_text('import mmdet')
    return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(folder), str(REPO)])}


@every_command
def test_ctrl_c_during_imports(script, without_packages, tmp_path):
    # Commands look for their files before they import anything.
    arguments = [argument.replace('a_file/nowhere', 'nowhere') for argument in ARGUMENTS[script]]
    for name in arguments:
        if name == 'nowhere':
            (tmp_path / name).mkdir()
        elif name.startswith('nowhere'):
            (tmp_path / name).write_text('')
    ended = run_process(script, *arguments, env=without_packages)
    assert ended.returncode == 130 and ended.stderr.startswith('interrupted') and ended.stderr.count('\n') == 1


@every_command
def test_the_help_and_a_wrong_command_line_need_no_package(script, without_packages):
    ended = run_process(script, '--help', env=without_packages)
    assert (ended.returncode, ended.stderr) == (0, '') and 'Exit status: 0 if ' in ended.stdout
    ended = run_process(script, *ARGUMENTS[script][:1], '--no-such-flag', env=without_packages)
    if script != 'tools/mmdet_tool.py':  # whose tools get all flags
        assert ended.returncode == 2 and 'error: ' in ended.stderr.splitlines()[-1]


@every_command
def test_a_pipe_that_is_closed_ends_a_command_in_silence(script):
    reader, writer = os.pipe()
    os.close(reader)
    # A help may be longer than the buffer, so that it fails while argparse writes it.
    ended = run_process(script, '--help', stdout=writer, env={**os.environ, 'PYTHONUNBUFFERED': ''})
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, '')


def run_process(script, *arguments, **options):
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.run([sys.executable, REPO / script, *arguments], check=False, **{**streams, **options})
