"""How the runs of a study are carried out, with stand-ins for tools/train.py and tools/test.py."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.paths import REPO
from support.study_tools import make_commands, plan

from mmcell.studies.budget import TimeLimit, plan_limit
from mmcell.studies.execution import Commands, carry_out, is_done, refuse_other_settings
from mmcell.studies.facts import TRAINED, add_share, add_test, read_effort_facts, write_json
from mmcell.studies.plan import StudyError
from mmcell.studies.pool import carry_out_all
from mmcell.studies.processes import _wait
from mmcell.studies.sharing import lacks_weights

# Trains in steps of .1 s, of which "stopped" counts those before a stop, and fails if the setting says so.
TRAIN = '''
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
with open(folder / 'calls.txt', 'a') as file:
    file.write(' '.join(sys.argv[1:]) + '\\n')
if 'model.depth=13' in sys.argv:
    print('error: there is no depth 13')
    sys.exit(1)
steps = folder / 'steps.txt'
done = len(steps.read_text()) if steps.exists() else 0
n_steps = 40 if 'model.depth=40' in sys.argv else 8
while done < n_steps:
    time.sleep(.1)
    done += 1
    steps.write_text('x' * done)
    if asked:
        sys.exit(3)
'''
TEST = '''
import sys
from pathlib import Path
Path(sys.argv[sys.argv.index('--out') + 1]).write_text(' '.join(sys.argv[1:]))
'''


@pytest.fixture
def commands(tmp_path):
    return make_commands(tmp_path, TRAIN, TEST, 'model = dict(depth=50, test_cfg=dict(cap=1))\n')


def steps_of(run, commands):
    path = commands.folder / run.folder / 'steps.txt'
    return len(path.read_text()) if path.exists() else 0


def test_a_run_is_trained_once_and_tested_with_each_variant(commands):
    run, = plan(commands, **{'model.test_cfg.cap': ['1', '2'], 'tta': ['true']})
    outcome = carry_out(run, commands)
    assert (outcome.status, outcome.message) == ('done', '')
    assert is_done(run, commands.folder)
    folder = commands.folder / run.folder
    assert 'randomness.seed=0' in (folder / 'calls.txt').read_text()
    flags = [(commands.folder / run.predictions_of(variant)).read_text() for variant in run.tested]
    assert ['cap=2' in text for text in flags] == [False, True]
    assert all('--tta' in text and '--split val' in text for text in flags)
    facts = json.loads((folder / TRAINED).read_text())
    assert facts['seconds'] > .8
    assert facts['peak_bytes'] > 1e6


def test_only_missing_parts_are_done_again(commands):
    run, = plan(commands)
    carry_out(run, commands)
    (commands.folder / run.predictions_of(run.variant)).unlink()
    assert not is_done(run, commands.folder)
    carry_out(run, commands)
    assert is_done(run, commands.folder)
    assert len((commands.folder / run.folder / 'calls.txt').read_text().splitlines()) == 1


def test_a_failed_run_says_why(commands):
    run, = plan(commands, 'model.depth=13')
    outcome = carry_out(run, commands)
    assert outcome.status == 'failed'
    assert outcome.message.startswith('there is no depth 13 (all output: ')
    assert not is_done(run, commands.folder)


def test_the_time_ends_a_training_which_then_continues(commands):
    run, = plan(commands, 'model.depth=40')
    in_time = Commands(commands.folder, commands.tools, limit=TimeLimit(time.time() + 2, time.time() + 60))
    assert carry_out(run, in_time).status == 'stopped'
    assert steps_of(run, commands) < 40
    assert carry_out(run, in_time).status == 'stopped'
    assert carry_out(run, commands).status == 'done'
    assert steps_of(run, commands) == 40
    assert len((commands.folder / run.folder / 'calls.txt').read_text().splitlines()) == 2


def test_a_test_that_would_not_end_in_time_is_left(commands):
    run, = plan(commands)
    (commands.folder / run.folder).mkdir(parents=True)
    add_test(commands.folder / run.folder, 'net.pkl', 100.)
    soon = replace(commands, limit=TimeLimit(time.time() + 60, time.time() + 120))
    outcome = carry_out(run, soon)
    assert (outcome.status, outcome.message) == ('stopped', 'the test of net.pkl, which takes about 100 s, is left')
    assert (commands.folder / run.folder / TRAINED).exists() and not is_done(run, commands.folder)
    later = replace(commands, limit=TimeLimit(time.time() + 60, time.time() + 130))
    assert carry_out(run, later).status == 'done'


def test_a_test_that_is_longer_than_the_budget_says_so(commands):
    run, = plan(commands)
    (commands.folder / run.folder).mkdir(parents=True)
    add_test(commands.folder / run.folder, 'net.pkl', 1000.)
    outcome = carry_out(run, replace(commands, limit=plan_limit(time.time(), 600., commands.folder)))
    assert outcome.status == 'stopped' and outcome.message.endswith(
        'is left: it needs a longer budget than this, in which tests of 7 min end')


def test_weights_that_cannot_be_written_fail_only_their_run(commands):
    runs = plan(commands, seeds=(0, 1))
    broken = commands.folder / runs[0].folder
    broken.mkdir(parents=True)
    (broken / 'epoch_8.pth').write_bytes(b'no checkpoint')
    outcomes = [carry_out(run, replace(commands, share_bytes=1000)) for run in runs]
    assert [outcome.status for outcome in outcomes] == ['failed', 'done']
    assert outcomes[0].message.startswith('its weights cannot be written: ')


def test_weights_are_left_if_the_time_would_not_suffice(commands):
    runs = plan(commands, seeds=(0, 1))
    for run in runs:
        (commands.folder / run.folder).mkdir(parents=True)
        torch.save({'state_dict': {'a.weight': torch.rand(9, 9)}}, commands.folder / run.folder / 'epoch_8.pth')
    assert carry_out(runs[0], replace(commands, share_bytes=10_000)).status == 'done'
    assert not lacks_weights(runs[0], commands.folder, 10_000)
    assert 0 < read_effort_facts(commands.folder / runs[0].folder)['share_seconds'] < 60
    add_share(commands.folder / runs[0].folder, 1000.)
    now = time.time()
    sharing = replace(commands, share_bytes=10_000, limit=TimeLimit(now + 100, now + 200))
    assert carry_out(runs[1], sharing).status == 'done'
    assert lacks_weights(runs[1], commands.folder, 10_000)
    assert carry_out(runs[1], replace(sharing, limit=TimeLimit(now + 9000, now + 9000))).status == 'done'
    assert not lacks_weights(runs[1], commands.folder, 10_000)


def test_a_command_that_ended_just_before_the_request_to_stop_has_ended(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(3)'], start_new_session=True)
    while process.poll() is None:  # as send_signal does
        time.sleep(.01)
    assert _wait(process, None) == (3, 0)


def test_what_does_not_stop_is_killed(commands):
    run, = plan(commands)
    (commands.tools / 'test.py').write_text('import time\ntime.sleep(600)\n')
    begun = time.time()
    (commands.folder / run.folder).mkdir(parents=True)
    write_json({'settings': {}}, commands.folder / run.folder / TRAINED)
    outcome = carry_out(run, replace(commands, limit=TimeLimit(time.time() + 1, time.time() + 1)))
    assert outcome.status == 'stopped' and outcome.message.startswith('the test of net.pkl did not end within')
    (commands.folder / run.folder / TRAINED).unlink()
    (commands.tools / 'train.py').write_text('import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
                                             'time.sleep(600)\n')
    limit = TimeLimit(time.time() + 2, time.time() + 3)
    assert carry_out(run, replace(commands, limit=limit)).status == 'stopped'
    assert time.time() - begun < 60
    # The next call keeps more time for the stop.
    assert .9 < read_effort_facts(commands.folder / run.folder)['stop_seconds'] < 10


def test_no_training_begins_shortly_before_the_end(commands):
    run, = plan(commands)
    limit = TimeLimit(time.time() + 60, time.time() + 60, begin=time.time())
    outcome = carry_out(run, replace(commands, limit=limit))
    assert (outcome.status, outcome.has_begun) == ('stopped', False)
    assert not (commands.folder / run.folder / 'calls.txt').exists()


def test_another_thread_can_stop_a_run(commands):
    run, = plan(commands, 'model.depth=40')
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    assert carry_out(run, commands, stop).status == 'stopped'
    assert steps_of(run, commands) < 40


def test_other_settings_are_refused_where_a_training_is_done(commands):
    run, = plan(commands)
    carry_out(run, commands)
    refuse_other_settings(run, commands)
    other, = plan(commands, 'model.depth=18')
    with pytest.raises(StudyError, match=r'trained with other settings: model\.depth \(50 there, 18 here\)'):
        refuse_other_settings(other, commands)
    with pytest.raises(StudyError, match=r'trained with other settings: --amp \(not set there, --amp here\)'):
        refuse_other_settings(run, replace(commands, train_flags=('--amp',)))
    refuse_other_settings(run, replace(commands, train_flags=('--launcher', 'pytorch')))


def test_other_settings_are_refused_where_predictions_are_done(commands):
    run, = plan(commands)
    carry_out(run, commands)
    tested_otherwise, = plan(commands, 'model.test_cfg.cap=7')
    with pytest.raises(StudyError, match=r'net\.pkl was predicted with other settings: .*test_cfg\.cap \(1 there, 7'):
        refuse_other_settings(tested_otherwise, commands)
    (commands.folder / run.predictions_of(run.variant)).unlink()
    refuse_other_settings(tested_otherwise, commands)
    assert carry_out(tested_otherwise, commands).status == 'done'
    refuse_other_settings(tested_otherwise, commands)


def test_a_test_that_fails_does_not_stop_the_others(commands):
    run, = plan(commands, **{'model.test_cfg.cap': ['1', '2', '3']})
    path = commands.tools / 'test.py'
    path.write_text("import sys\nif 'model.test_cfg.cap=2' in sys.argv:\n    sys.exit('error: no 2')\n" + TEST)
    outcome = carry_out(run, commands)
    assert (outcome.status, outcome.message.partition(' (')[0]) == ('failed', 'no 2')
    assert [(commands.folder / run.predictions_of(variant)).exists() for variant in run.tested] == [True, False, True]


def test_the_reason_of_a_failure_is_that_of_the_last_command(commands):
    run, = plan(commands, 'model.depth=13')
    carry_out(run, commands)
    (commands.tools / 'train.py').write_text("import os, signal\nprint('step 3', flush=True)\n"
                                             'os.kill(os.getpid(), signal.SIGKILL)\n')
    message = carry_out(run, commands).message
    assert message.startswith('ended by the signal SIGKILL, perhaps because the memory was full; last line: step 3 (')


STUDY = '''
import signal
import sys
from pathlib import Path
# A shell without job control makes programs in the background ignore Ctrl-C, and the tests may be such a program.
signal.signal(signal.SIGINT, signal.default_int_handler)
from mmcell.studies.execution import Commands, carry_out
from mmcell.studies.plan import Experiment, make_variants
from mmcell.studies.runs import plan_runs
root = Path(sys.argv[1])
run, = plan_runs(make_variants([Experiment(str(root / 'net.py'))], ['model.depth=40']), [0])
print(carry_out(run, Commands(root / 'study', root / 'tools')).status)
'''


def start_study(commands):
    return subprocess.Popen([sys.executable, '-c', STUDY, commands.tools.parent], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, 'PYTHONPATH': str(REPO)})


def wait_for_steps(run, commands):
    end = time.monotonic() + 120
    while not steps_of(run, commands) and time.monotonic() < end:
        time.sleep(.02)


@pytest.mark.skipif(not Path('/proc').exists(), reason='needs processes of Linux')
def test_a_killed_study_is_waited_for_and_nothing_runs_twice(commands):
    run, = plan(commands, 'model.depth=40')
    killed = start_study(commands)
    wait_for_steps(run, commands)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Its training goes on, and holds the lock of the folder.
    assert steps_of(run, commands) < 40
    assert carry_out(run, commands).status == 'done'
    calls = (commands.folder / run.folder / 'calls.txt').read_text().splitlines()
    # The second training finds all steps done.
    assert len(calls) == 2
    assert steps_of(run, commands) == 40


def test_ctrl_c_lets_the_training_save(commands):
    run, = plan(commands, 'model.depth=40')
    study = start_study(commands)
    wait_for_steps(run, commands)
    study.send_signal(signal.SIGINT)
    study.communicate()
    assert study.returncode != 0
    assert 0 < steps_of(run, commands) < 40
    # The lock is free again.
    assert carry_out(run, commands).status == 'done'


def test_several_runs_at_once_each_have_an_outcome(commands):
    runs = [*plan(commands, seeds=(0, 1)), *plan(commands, 'model.depth=13', seeds=(2,))]
    begun = []
    outcomes = list(carry_out_all(runs, commands, 3, on_begin=begun.append))
    assert [run.folder for run in begun] == [run.folder for run in runs]
    assert sorted((str(outcome.run.folder), outcome.status) for outcome in outcomes) == [
        ('net/seed0', 'done'), ('net/seed1', 'done'), ('net/seed2', 'failed')]
    assert 'there is no depth 13' in next(outcome.message for outcome in outcomes if outcome.status == 'failed')


def test_several_runs_stop_in_time(commands):
    in_time = Commands(commands.folder, commands.tools, limit=TimeLimit(*[time.time()] * 3))
    outcomes = list(carry_out_all(plan(commands, seeds=(0, 1, 2)), in_time, 2))
    assert [outcome.status for outcome in outcomes] == ['stopped'] * 3
