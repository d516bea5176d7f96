"""The fuzzing finds planted faults; and no input that was ever found fails again."""

import json
import random
from unittest import mock

import pytest
from fuzzing import guided, planted, run
from fuzzing.mutations import BESIDE, CORPUS, make_input, seed_files
from fuzzing.workers import MIB, REPO, Limits, Target, Worker, describe_death, judge, load_targets

# Names of inputs that readers once neither read nor refused in one message.
FOUND = 'found-'


@pytest.fixture(scope='module')
def planted_worker():
    worker = Worker('fuzzing.planted:TARGETS', Limits(cpu_seconds=4, memory_bytes=200 * MIB))
    yield worker
    worker.close()


@pytest.mark.parametrize('name', sorted(set(planted.FAULTS) - {'sleeps'}))
def test_planted_faults_are_found(planted_worker, name):
    outcome = planted_worker.read(name, '.json', b'[]')
    expected = planted.FAULTS[name][1]
    assert (outcome.kind, outcome.name[:len(expected or '')]) == ('found' if expected else 'read', expected or '')
    # The search goes on after each of them.
    assert planted_worker.read('reads', '.json', b'[]').kind == 'read'


def test_a_reader_that_hangs_is_found():
    worker = Worker('fuzzing.planted:TARGETS', Limits(wall_seconds=1))
    try:
        assert worker.read('sleeps', '.json', b'[]').name == 'hang: not done after 1 s'
    finally:
        worker.close()


def test_a_process_that_has_died_between_two_inputs_is_replaced():
    worker = Worker('fuzzing.planted:TARGETS', Limits())
    try:
        assert worker.read('reads', '.json', b'[]').kind == 'read'
        worker._process.kill()
        worker._process.join()
        assert worker.read('reads', '.json', b'[]' * 10 ** 6).name.startswith('crash: SIGKILL')
        assert worker.read('reads', '.json', b'[]').kind == 'read'
    finally:
        worker.close()


def test_faults_are_named_after_the_innermost_line_of_the_repository():
    outcome = judge(lambda path: json.loads('{"a": 1}', object_hook=planted.FAULTS['fails'][0]), None)
    assert outcome.name.startswith('KeyError: tests/fuzzing/planted.py')
    # A fault of another package inside the repository's folder, which may be called mmcell, is that of its caller.
    printed = ''.join(f'  File "{REPO}/{name}", line {line} in f\n' for name, line in (
        ('.venv/lib/python3/site-packages/PIL/Image.py', 9), ('mmcell/images/image_file.py', 7), ('mmcell/a.py', 3)))
    assert describe_death(-11, printed).name == 'crash: SIGSEGV mmcell/images/image_file.py:7'


class FakeProcess:
    """Stands for the processes of the guided search: each reads three inputs, and may die at the last.

    Args:
        statuses: The exit status of each.
        reads: Whether each reads inputs before it ends.
    """

    def __init__(self, statuses, reads=True):
        self.statuses, self.reads, self.seeds = list(statuses), reads, []

    def __call__(self, arguments):
        *_, seed, _, folder = arguments
        self.seeds.append(int(seed))
        (folder / 'printed').write_text('Fatal error' if self.reads else 'ImportError: atheris')
        if self.reads:
            (folder / 'inputs').mkdir()
            (folder / 'inputs' / 'input-2.tif').write_bytes(b'deadly')
            (folder / 'counts').write_text('{"read": 2}')
        return mock.Mock(returncode=self.statuses.pop(0))


@pytest.fixture
def guided_args(tmp_path):
    return mock.Mock(seconds=60, registry='fuzzing.planted:TARGETS', out=tmp_path / 'found')


def test_the_guided_search_goes_on_after_a_death_and_ends_after_three(tmp_path, guided_args, monkeypatch):
    process = FakeProcess([-11, -24, -6, 0])
    monkeypatch.setattr(guided.subprocess, 'run', process)
    record = run.Record(tmp_path / 'found', 7)
    guided.search('reads', guided_args, record, tmp_path)
    assert process.seeds == [7, 8, 9] and record.counts['reads'] == {'read': 6, 'found': 3}
    assert [name for _, name in record.names] == ['crash: SIGSEGV ', 'time: SIGXCPU ', 'crash: SIGABRT ']
    assert {path.read_bytes() for path in (tmp_path / 'found').glob('*.tif')} == {b'deadly'}


def test_a_guided_search_that_cannot_start_says_why(tmp_path, guided_args, monkeypatch):
    (tmp_path / 'inputs').mkdir()
    (tmp_path / 'inputs' / 'input-9.tif').write_bytes(b'of the process before')
    monkeypatch.setattr(guided.subprocess, 'run', FakeProcess([1], reads=False))
    with pytest.raises(SystemExit, match='(?s)cannot start.*ImportError: atheris'):
        guided.search('reads', guided_args, run.Record(tmp_path / 'found', 7), tmp_path)


def call_run(*arguments):
    with mock.patch('sys.argv', ['run.py', *map(str, arguments)]):
        return run.main()


def test_what_is_found_is_saved_with_its_seed(tmp_path, capsys):
    arguments = ('--registry', 'fuzzing.planted:SOMETIMES', '--inputs', 120, '--seed', 3, '--out', tmp_path / 'found')
    assert call_run(*arguments) == 1
    printed = capsys.readouterr().out
    assert 'seed 3' in printed and 'TypeError: tests/fuzzing/planted.py' in printed and '120 inputs' in printed
    saved = sorted((tmp_path / 'found').glob('*.json'))
    assert 1 <= len(saved) <= 3
    for path in saved:
        number = int(path.stem.split('_')[-1])
        assert make_input('masks', 3, number) == ('.json', path.read_bytes()) and path.stat().st_size % 5 == 0
        assert 'TypeError: a size that' in path.with_name(f'{path.name}.txt').read_text()


def test_readers_without_a_fault_end_with_0(tmp_path, capsys):
    folder = tmp_path / 'found'
    assert call_run('--registry', 'fuzzing.planted:SOUND', '--inputs', 30, '--jobs', 2, '--out', folder) == 0
    assert not folder.exists() and '30 read' in capsys.readouterr().out


class UnlimitedReader:
    """Reads inputs in the process of the tests, whose output and limits stay as they are."""

    def __init__(self, folder):
        self.folder = folder

    def read(self, target, suffix, content):
        path = self.folder / f'input{suffix}'
        path.write_bytes(content)
        return judge(target.read, path)


def test_the_guided_search_reads_seeds_as_they_are_and_saves_what_is_found(tmp_path):
    read = []
    target = Target('tiff', lambda path: read.append((path.suffix, path.read_bytes())))
    record = run.Record(tmp_path / 'found', 7)
    fuzzer = guided.Fuzzer('TIFF image', target, UnlimitedReader(tmp_path), record)
    fuzzer.write_seeds(tmp_path / 'seeds')
    for path in sorted((tmp_path / 'seeds').iterdir()):
        fuzzer.read(path.read_bytes())
    assert sorted(read) == sorted((path.suffix, path.read_bytes()) for path in seed_files('tiff'))
    assert record.counts['TIFF image'] == {'read': len(read)} and not (tmp_path / 'found').exists()
    fuzzer.target = planted.SOMETIMES['fails sometimes']
    for n_bytes in (3, 5, 10, 12):
        fuzzer.read(bytes(1 + n_bytes))
    assert json.loads((tmp_path / 'counts').read_text()) == {'read': len(read), 'found': 2, 'refused': 2}
    saved, texts = sorted((tmp_path / 'found').glob('*.tif')), list((tmp_path / 'found').glob('*.txt'))
    assert sorted(path.stat().st_size for path in saved) == [5, 10] and len(texts) == 2
    assert all('TypeError: tests/fuzzing/planted.py' in text.read_text() for text in texts)


@pytest.mark.parametrize('name', sorted(load_targets('fuzzing.targets:TARGETS')))
def test_the_guided_search_changes_inputs_that_are_no_longer_of_their_format(tmp_path, name):
    target = load_targets('fuzzing.targets:TARGETS')[name]
    fuzzer = guided.Fuzzer(name, target, UnlimitedReader(tmp_path), run.Record(tmp_path, 7))
    for number in range(20):
        rng = random.Random(number)
        garbage = bytes([number]) + rng.randbytes(50)
        changed = fuzzer.mutate_by_format(garbage, rng)
        assert changed[:1] == garbage[:1] and isinstance(changed, bytes)


@pytest.mark.parametrize('name', sorted(load_targets('fuzzing.targets:TARGETS')))
def test_the_guided_search_changes_sound_files_as_their_format_allows(tmp_path, name):
    target = load_targets('fuzzing.targets:TARGETS')[name]
    fuzzer = guided.Fuzzer(name, target, UnlimitedReader(tmp_path), run.Record(tmp_path, 7))
    fuzzer.write_seeds(tmp_path / 'seeds')
    seeds = [path.read_bytes() for path in sorted((tmp_path / 'seeds').iterdir())]
    changed = [fuzzer.mutate_by_format(seed, random.Random(number)) for seed in seeds for number in range(10)]
    assert fuzzer.n_left_format == 0
    assert len(set(changed) - set(seeds)) > len(changed) / 2


@pytest.mark.parametrize('corpus', sorted(path.name for path in CORPUS.iterdir() if path != BESIDE))
def test_inputs_are_made_again_from_seed_and_number(corpus):
    inputs = [make_input(corpus, 1, number) for number in range(40)]
    assert inputs == [make_input(corpus, 1, number) for number in range(40)]
    assert len(set(inputs)) > 25
    assert inputs != [make_input(corpus, 2, number) for number in range(40)]


def test_corpora_are_small_and_all_of_them_are_read():
    files = [path for path in CORPUS.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 600_000
    targets = load_targets('fuzzing.targets:TARGETS')
    assert {target.corpus for target in targets.values()} == {path.parent.name for path in files} - {BESIDE.name}


def test_seeds_are_read_and_findings_do_not_return():
    wrong, worker = [], Worker('fuzzing.targets:TARGETS', Limits(), BESIDE)
    try:
        for name, target in load_targets('fuzzing.targets:TARGETS').items():
            for path in seed_files(target.corpus):
                outcome = worker.read(name, path.suffix, path.read_bytes())
                if outcome.kind == 'found' or (outcome.kind == 'refused' and not path.name.startswith(FOUND)):
                    wrong.append(f'{name}, {path.name}: {outcome.text}')
    finally:
        worker.close()
    assert not wrong, '\n'.join(wrong)
