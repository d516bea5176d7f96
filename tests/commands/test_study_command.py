"""What tools/study.py checks before the first training."""

import signal
from pathlib import Path

import pytest
from support.commands import call, load_command

STUDY = 'tools/study.py'


@pytest.fixture(autouse=True)
def own_signals():
    """Gives back the signals that the command takes over."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'net.py'
    path.write_text('model = dict(depth=50)\n')
    return path


@pytest.mark.parametrize(('varied', 'message'), [
    ('tile=64', 'the overlap must be from 0 to 32 px'),
    ('overlap=64', 'give --tile, too'),
    ('tile=large', "argument --tile: invalid int value: 'large'"),
    ('tta=yes', 'unrecognized arguments: yes'),
])
def test_wrong_flags_of_tests_are_refused_before_any_training(config, tmp_path, varied, message):
    ended = call(STUDY, config, '--out', tmp_path / 'out', '--dry-run', '--vary', varied)
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
    assert not (tmp_path / 'out').exists()


def test_all_gpus_for_each_run_leave_none_for_a_second_run(config, tmp_path):
    ended = call(STUDY, config, '--out', tmp_path / 'out', '--jobs', '2', '--launcher', 'pytorch')
    assert ended.returncode == 2
    assert 'leave out --jobs' in ended.stderr


def test_a_study_file_names_its_folder():
    default_folder = load_command(STUDY).default_folder
    assert default_folder(['studies/consep.py']) == Path('work_dirs/studies/consep')
    assert default_folder(['/a/studies/b/studies/mine/net.py']) == Path('work_dirs/studies/mine/net')
    assert default_folder(['elsewhere/consep.py']) is None
    assert default_folder(['studies/a.py', 'studies/b.py']) is None


def test_the_end_of_the_terminal_is_ignored_under_nohup(config, tmp_path):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    call(STUDY, config, '--out', tmp_path / 'out', '--dry-run', '--vary', 'tile=64')
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_gpus_are_those_that_the_user_allows(monkeypatch):
    find_gpus = load_command(STUDY).find_gpus
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert find_gpus() == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    assert find_gpus() == ['3', '5']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', 'GPU-8932f937,GPU-4a1')
    assert find_gpus() == ['GPU-8932f937', 'GPU-4a1']


def test_windows_is_refused_with_a_reason(config, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.platform', 'win32')
    ended = call(STUDY, config, '--out', tmp_path / 'out')
    assert ended.returncode == 2
    assert 'studies need Linux or macOS' in ended.stderr
