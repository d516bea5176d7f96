"""The attacks find what they look for: each is tried on a stand-in with a planted fault, and on one without."""

import random

import pytest
from soak import attacks
from soak.attacks import Place, Reference, Trial
from soak.disks import can_mount
from soak.run import Record, Task, measure, plan, write_report
from soak.subjects import SUBJECTS, Subject

WHOLE = """
import sys, time
from pathlib import Path
from mmcell.files.whole_files import remove_leftovers, written_whole

out = Path(sys.argv[1])
remove_leftovers(out, lambda name: True)
try:
    with written_whole([out / 'a.txt']) as (path,):
        path.write_text('a' * 100_000)
        time.sleep(1)
except OSError as error:
    sys.exit(f'error: {error}')
except KeyboardInterrupt:
    sys.exit(130)
"""
IN_PARTS = """
import sys, time
from pathlib import Path

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
with open(out / 'a.txt', 'w', buffering=1) as file:
    file.write('begin\\n')
    time.sleep(1)
    file.write('end\\n')
"""
LEAVES_A_PROCESS = WHOLE + """
import subprocess
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(7)'])
time.sleep(7)
"""
DEAF = 'import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n' + WHOLE + 'time.sleep(7)\n'
HIDES_ERRORS = WHOLE.replace("sys.exit(f'error: {error}')", 'pass')
TALKATIVE = WHOLE.replace("sys.exit(f'error: {error}')", 'raise')
GROWS = WHOLE.replace("'a' * 100_000", "'a' * (10 + len(list(out.glob('*'))))")


class Choices(random.Random):
    """Draws the middle of each range, and the first or a given choice."""

    def __init__(self, chosen=None):
        super().__init__(0)
        self.chosen = chosen

    def uniform(self, low, high):
        return (low + high) / 2

    def random(self):
        return .4

    def choice(self, values):
        return values[values.index(self.chosen)] if self.chosen in values else values[0]

    def randint(self, low, high):
        return low


@pytest.fixture
def make_trial(tmp_path, monkeypatch):
    """Makes a trial of a stand-in with this source, whose undisturbed run takes a second."""
    monkeypatch.setattr(attacks, 'MAX_SECONDS_TO_END', 4.)
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'whole.py').write_text(WHOLE)

    def make(source, chosen=None, **settings):
        script = data / 'stand_in.py'
        script.write_text(source)
        subject = Subject('stand-in', str(script), ('disk/out',), **settings)
        place = Place(tmp_path / 'job', data)
        reference = measure(Subject('whole', str(data / 'whole.py'), ('disk/out',)), place)
        place.clear()
        return Trial(subject, place, Reference(reference.files, {}, 1., reference.n_bytes), Choices(chosen))
    return make


def test_a_command_that_loses_nothing_passes(make_trial):
    for chosen in (9, 2, 15):
        trial = make_trial(WHOLE, chosen)
        trial.interrupt()
        assert trial.findings == [] and trial.n_kills == 1, trial.story
    trial = make_trial(WHOLE)
    trial.start_two()
    trial.limit_open_files()
    assert trial.findings == []


@pytest.mark.parametrize('source, chosen, finding', [
    (IN_PARTS, 9, 'a.txt has another content than it must have: '),
    (LEAVES_A_PROCESS, 9, '1 of its processes have not ended'),
    (DEAF, 15, 'it has not ended after 4 s'),
    (GROWS, 9, 'a.txt differs from that of the undisturbed run: '),
], ids=['written in parts', 'a process is left', 'deaf', 'another result'])
def test_what_a_killed_command_spoils_is_found(make_trial, source, chosen, finding):
    trial = make_trial(source, chosen)
    trial.reference.seconds = 3.
    trial.interrupt()
    assert any(finding in text for text in trial.findings), (trial.findings, trial.story)


@pytest.mark.skipif(not can_mount(), reason='only an administrator can mount disks')
def test_small_and_read_only_disks(make_trial):
    for attack in (Trial.fill_the_disk, Trial.forbid_writing):
        trial = make_trial(WHOLE)
        attack(trial)
        assert trial.findings == []
        trial = make_trial(TALKATIVE)
        attack(trial)
        assert any('Traceback' in text for text in trial.findings)
    trial = make_trial(HIDES_ERRORS)
    trial.forbid_writing()
    assert trial.findings == ['it says that all was written']


def test_each_attack_is_tried_once_before_any_is_repeated():
    tasks = plan(list(SUBJECTS), list(attacks.ATTACKS), random.Random(3))
    pairs = {(name, attack) for name in SUBJECTS for attack in attacks.ATTACKS
             if (attack == 'dead process of several') == (SUBJECTS[name].n_processes > 0)}
    assert {(task.subject, task.attack) for _, task in zip(pairs, tasks, strict=False)} == pairs


def test_the_figures_replace_those_of_the_run_before(tmp_path, capsys):
    record = Record()
    for findings in ([], ['lost']):
        trial = Trial(SUBJECTS['training'], None, None, None)
        trial.n_kills, trial.findings = 2, findings
        record.add(Task('training', 'killed', 5), trial)
    assert record.table().splitlines()[2:] == ['| training | 2 | 4 | 1 |', '| all | 2 | 4 | 1 |']
    assert 'found: lost' in capsys.readouterr().out
    page = tmp_path / 'page.md'
    page.write_text('# Title\n<!-- soak: begin -->\nold\n<!-- soak: end -->\nafter\n')
    write_report(page, 'new')
    assert page.read_text() == '# Title\n<!-- soak: begin -->\nnew\n<!-- soak: end -->\nafter\n'
