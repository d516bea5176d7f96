"""Runs of a study at the same time: GPUs, and jobs of a stand-in for Slurm."""

import os
import sys
import time

import pytest
from support.paths import REPO
from support.study_tools import make_commands, plan

from mmcell.studies.budget import TimeLimit
from mmcell.studies.execution import Commands
from mmcell.studies.plan import Experiment, StudyError, make_variants
from mmcell.studies.pool import carry_out_all
from mmcell.studies.runs import plan_runs

TRAIN = '''
import os, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
(folder / 'environment.txt').write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('SLURM_JOB_ID')}")
'''
TEST = '''
import sys
from pathlib import Path
Path(sys.argv[sys.argv.index('--out') + 1]).write_text('')
'''
# Runs the script of a job at once, or never if the file "full" is there, and counts the jobs.
SBATCH = '''#!/bin/bash
cd {folder}
id=$(( $(cat last) + 1 )); echo $id > last
cp "$1" job_$id.sh
echo "Submitted batch job $id"
if [ -e full ]; then echo PENDING > state_$id; exit; fi
echo RUNNING > state_$id
export SLURM_JOB_ID=$id SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_PROCID=0
(bash "$1"; echo COMPLETED > state_$id) > /dev/null 2>&1 < /dev/null &
'''
# Leaves out its own options.
SRUN = '''#!/bin/bash
while [[ "$1" != *python* ]]; do shift; done
"$@"
'''
SACCT = '''#!/bin/bash
cd {folder}
echo 'JobID|State|NodeList'
for file in state_*; do echo "${{file#state_}}|$(cat $file)|node"; done
'''
SCANCEL = '''#!/bin/bash
cd {folder}
for id in "$@"; do echo "CANCELLED" > state_$id; done
'''


@pytest.fixture
def commands(tmp_path):
    return make_commands(tmp_path, TRAIN, TEST, 'model = dict(depth=50, weights=None)\n')


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Puts a stand-in for Slurm on the PATH; returns its folder, with the scripts of the jobs."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    (folder / 'last').write_text('0')
    for name, text in (('sbatch', SBATCH), ('srun', SRUN), ('sacct', SACCT), ('scancel', SCANCEL)):
        (folder / name).write_text(text.format(folder=folder) if name != 'srun' else text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    return folder


def test_jobs_of_slurm_wait_for_the_training_that_they_need(commands, slurm):
    config = str(commands.tools.parent / 'net.py')
    runs = plan_runs(make_variants([
        Experiment(config, (f'model.weights={commands.folder}/a/seed0/x.pth',), 'b'),
        Experiment(config, (), 'a')]), [0])
    outcomes = list(carry_out_all(runs, commands, 2, ['slurm_partition=any']))
    assert [(outcome.run.folder.parts[0], outcome.status) for outcome in outcomes] == [('a', 'done'), ('b', 'done')]


def environment_of(run, commands):
    return (commands.folder / run.folder / 'environment.txt').read_text().split()


def test_runs_get_the_gpus_in_turn(commands):
    runs = plan(commands, seeds=(0, 1))
    outcomes = list(carry_out_all(runs, commands, 2, gpus=('2', 'GPU-8932f937')))
    assert [outcome.status for outcome in outcomes] == ['done', 'done']
    assert [environment_of(run, commands)[0] for run in runs] == ['2', 'GPU-8932f937']


def test_a_run_is_a_job_of_slurm_with_the_parameters(commands, slurm):
    run, = plan(commands)
    parameters = ['slurm_partition=gpu', 'gpus_per_node=1', 'timeout_min=720']
    outcome, = carry_out_all([run], commands, 1, parameters)
    assert (outcome.status, outcome.message) == ('done', '')
    assert environment_of(run, commands)[1] == '1'
    script = (slurm / 'job_1.sh').read_text()
    for line in ('--partition=gpu', '--gpus-per-node=1', '--time=720', '--signal=USR2@90'):
        assert f'#SBATCH {line}\n' in script
    assert sys.executable in script


def test_a_job_that_is_still_queued_at_the_deadline_is_taken_back(commands, slurm):
    (slurm / 'full').touch()
    in_time = Commands(commands.folder, commands.tools, limit=TimeLimit(*[time.time() + 1] * 3))
    outcomes = list(carry_out_all(plan(commands, seeds=(0, 1)), in_time, 1, []))
    assert [(outcome.status, outcome.has_begun) for outcome in outcomes] == [('stopped', False)] * 2
    assert 'CANCELLED' in (slurm / 'state_1').read_text()


@pytest.mark.parametrize(('parameter', 'message'), [
    ('gpu', '--slurm takes KEY=VALUE, for example slurm_partition=gpu, got gpu'),
    ('banana=1', "--launcher slurm: Parameter 'banana' need to be prefixed"),
    ('timeout_min=long', '--launcher slurm: Parameter "timeout_min" expected type'),
])
def test_wrong_parameters_are_refused(commands, slurm, parameter, message):
    with pytest.raises(StudyError, match=message):
        list(carry_out_all(plan(commands), commands, 1, [parameter]))


def test_a_machine_without_slurm_says_so(commands, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(StudyError, match='--launcher slurm: .*srun'):
        list(carry_out_all(plan(commands), commands, 1, []))
