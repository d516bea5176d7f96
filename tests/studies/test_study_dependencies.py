"""Runs that begin from the weights of another run of the study: they never begin from a half-trained checkpoint."""

import time
from dataclasses import replace

import pytest
from support.study_tools import make_commands

from mmcell.studies.budget import TimeLimit
from mmcell.studies.dependencies import find_unfinished, refuse_missing_trainings
from mmcell.studies.execution import carry_out
from mmcell.studies.facts import TRAINED
from mmcell.studies.plan import Experiment, StudyError, make_variants
from mmcell.studies.pool import carry_out_all
from mmcell.studies.runs import plan_runs

# Writes a checkpoint at its beginning, and notes at its beginning and end. Ends early with the depth 13.
TRAIN = '''
import sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
def note(text):
    with open(folder.parents[1] / 'order.txt', 'a') as file:
        file.write(f'{text} {folder.parent.name}\\n')
note('begin')
(folder / 'epoch_1.pth').touch()
time.sleep(.5)
if 'model.depth=13' in sys.argv:
    sys.exit(1)
note('end')
'''
TEST = '''
import sys
from pathlib import Path
Path(sys.argv[sys.argv.index('--out') + 1]).write_text('')
'''


@pytest.fixture
def commands(tmp_path):
    return make_commands(tmp_path, TRAIN, TEST, 'model = dict(depth=50, teacher=None)\nload_from = None\n')


def plan(commands, named='a/seed0/epoch_1.pth', key='load_from', depth=50):
    """The runs of three variants: b, which begins from the training of a; a; and c. Neither a nor c needs another."""
    config = str(commands.tools.parent / 'net.py')
    variants = make_variants([
        Experiment(config, (f'{key}={commands.folder / named}',), 'b'),
        Experiment(config, (f'model.depth={depth}',), 'a'), Experiment(config, ('model.depth=7',), 'c')])
    return plan_runs(variants, [0])


def order_of(commands):
    return (commands.folder / 'order.txt').read_text().splitlines()


@pytest.mark.parametrize('n_jobs', [1, 3])
@pytest.mark.parametrize(('named', 'key'), [
    ('a/seed0/epoch_1.pth', 'load_from'), ('a/seed0', 'load_from'), ('a/seed0/epoch_1.pth', 'model.teacher')])
def test_a_run_begins_when_the_training_that_it_needs_is_finished(commands, n_jobs, named, key):
    runs = plan(commands, named, key)
    outcomes = list(carry_out_all(runs, commands, n_jobs))
    assert sorted((str(outcome.run.folder), outcome.status) for outcome in outcomes) == [
        ('a/seed0', 'done'), ('b/seed0', 'done'), ('c/seed0', 'done')]
    order = order_of(commands)
    assert order.index('end a') < order.index('begin b')


@pytest.mark.parametrize('n_jobs', [1, 3])
def test_a_run_is_left_if_the_training_that_it_needs_fails(commands, n_jobs):
    runs = plan(commands, depth=13)
    begun = []
    outcomes = {outcome.run.folder.parts[0]: outcome
                for outcome in carry_out_all(runs, commands, n_jobs, on_begin=begun.append)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        'a': 'failed', 'b': 'stopped', 'c': 'done'}
    assert outcomes['b'].message == 'it begins from the training a/seed0, which has not come to its end'
    assert runs[0] not in begun and 'begin b' not in order_of(commands)
    # Another process may have begun the training again after the order was made.
    assert carry_out(runs[0], commands).status == 'stopped' and 'begin b' not in order_of(commands)


@pytest.mark.parametrize('n_jobs', [1, 2])
def test_runs_that_need_each_other_end(commands, n_jobs):
    config = str(commands.tools.parent / 'net.py')
    runs = plan_runs(make_variants([
        Experiment(config, (f'load_from={commands.folder}/{other}/seed0',), name) for name, other in ('ab', 'ba')]),
        [0])
    assert [outcome.status for outcome in carry_out_all(runs, commands, n_jobs)] == ['stopped', 'stopped']


def test_when_the_time_is_over_the_reason_is_said(commands):
    over = replace(commands, limit=TimeLimit(*[time.time()] * 3))
    outcomes = list(carry_out_all(plan(commands), over, 1))
    assert [outcome.message[:35] for outcome in outcomes] == ['it begins from the training a/seed0', '', '']


def test_what_is_no_training_of_the_study_is_not_waited_for(commands, tmp_path):
    for named in ('../elsewhere/seed0/x.pth', 'share/a_seed0.pth', 'b/seed0/own.pth', '../study_old/a/seed0/x.pth'):
        assert find_unfinished(plan(commands, named)[0], commands.folder) is None
    run = plan(commands)[0]
    assert str(find_unfinished(run, commands.folder)) == 'a/seed0'
    # The folder of the study by another path.
    commands.folder.mkdir()
    (tmp_path / 'link').symlink_to(commands.folder)
    assert str(find_unfinished(run, tmp_path / 'link')) == 'a/seed0'
    (commands.folder / 'b' / 'seed0').mkdir(parents=True)
    (commands.folder / 'b' / 'seed0' / TRAINED).write_text('{}')
    assert find_unfinished(run, commands.folder) is None  # it is trained itself


def test_a_training_that_no_run_makes_is_refused_at_the_start(commands):
    refuse_missing_trainings(plan(commands), commands.folder)
    with pytest.raises(StudyError, match=r'b/seed0 begins from the training .*old/seed0, which has not come to'):
        refuse_missing_trainings(plan(commands, 'old/seed0/x.pth'), commands.folder)
    (commands.folder / 'old' / 'seed0').mkdir(parents=True)
    (commands.folder / 'old' / 'seed0' / TRAINED).write_text('{}')
    refuse_missing_trainings(plan(commands, 'old/seed0/x.pth'), commands.folder)
