"""Studies with real trainings on demo data: killed and continued. All tests are slow."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.browser_pages import check_page_works
from support.commands import CONFIG, TINY, run
from support.html_pages import Page
from support.paths import REPO

from mmcell.files.parts import find_written, join_parts

pytestmark = pytest.mark.slow
# What the clock and the machine decide.
NOT_COMPARED = {'step_seconds', 'peak_bytes'}


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """Writes demo images and a second config; returns the folder and the command of a study but for its --out."""
    root = tmp_path_factory.mktemp('study')
    run('data_prep/make_demo_data.py', root / 'data', '--images', 10, '--test-images', 1, '--size', 96)
    run('data_prep/to_coco.py', root / 'data', '--out', root / 'annotations', '--jobs', 1, '--val-ratio', .3)
    (root / 'wide.py').write_text(f"_base_ = ['{REPO / CONFIG}']\n"
                                  'model = dict(rpn_head=dict(anchor_generator=dict(scales=[8])))\n')
    files = [f'{split}_dataloader.dataset.ann_file={root}/annotations/{split}.json'
             for split in ('train', 'val', 'test')]
    return root, ['tools/study.py', REPO / CONFIG, root / 'wide.py', '--seeds', '0', '1', '--resamples', '50',
                  '--max-epochs', '2', '--score-thr', '.05', '--cfg-options', *TINY, *files,
                  'optim_wrapper.optimizer.lr=.002', 'train_dataloader.sampler.times=4']


@pytest.fixture(scope='module')
def at_once(study):
    root, command = study
    output = run(*command, '--out', root / 'at_once')
    assert '[4/4] wide/seed1: done' in output
    return read_rows(root / 'at_once')


def read_rows(folder):
    rows = json.loads((folder / 'table.json').read_text())['rows']
    return [{key: value for key, value in row.items() if key not in NOT_COMPARED} for row in rows]


def start(command, *arguments):
    return subprocess.Popen([sys.executable, *map(str, [*command, *arguments])], cwd=REPO, start_new_session=True,
                            env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def wait_for_step(log, text):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if log.exists() and text in log.read_text():
            return
        time.sleep(.1)
    pytest.fail(f'{text!r} never appeared in {log}')


def test_a_study_that_is_killed_twice_gives_the_same_table(study, at_once):
    root, command = study
    folder = root / 'killed'
    killed = start(command, '--out', folder)
    wait_for_step(folder / 'mask-rcnn_r18_demo' / 'seed0' / 'study.log', 'epoch 1/2  step 10/28')
    # As after a power failure: neither the study nor its training can save anything.
    subprocess.run(['pkill', '-KILL', '-f', f'work-dir {folder}'], check=True)
    killed.kill()
    killed.communicate()
    interrupted = start(command, '--out', folder)
    wait_for_step(folder / 'wide' / 'seed0' / 'study.log', 'step 10/28')
    interrupted.send_signal(signal.SIGTERM)
    output, _ = interrupted.communicate(timeout=120)
    assert interrupted.returncode == 130 and 'the same command continues from here' in output
    assert list((folder / 'wide' / 'seed0').glob('iter_*.pth')) or list((folder / 'wide' / 'seed0').glob('epoch_*.pth'))
    output = run(*command, '--out', folder)
    assert '[4/4]' not in output  # the first run was done before
    assert read_rows(folder) == at_once


def test_the_table_tells_what_differs_and_by_how_much(at_once):
    first, second = at_once
    assert second['changes'] == ['model.rpn_head.anchor_generator.scales.0 (4 there, 8 here)']
    assert first['n_seeds'] == second['n_seeds'] == second['n_runs'] == 2
    for row in at_once:
        assert row['AP50_min'] <= row['AP50'] <= row['AP50_max']
        assert row['AP50_max'] > 0
    assert second['AP50_difference'] == pytest.approx(second['AP50'] - first['AP50'])
    assert second['AP50_difference_low'] <= second['AP50_difference_high']
    assert first['n_trainable'] < second['n_trainable'] + 1


def test_a_done_study_is_only_measured_again(study, at_once):
    root, command = study
    output = run(*command, '--out', root / 'at_once')
    assert '…' not in output
    assert read_rows(root / 'at_once') == at_once


def test_the_page_of_a_study_works_in_a_browser(study, at_once):
    path = study[0] / 'at_once' / 'report.html'
    page = Page(path.read_text(encoding='utf-8'))
    assert {'study', 'comparison', 'gallery', 'curves'} <= page.sections.keys()
    assert ['wide', '2/2'] in [row[:2] for row in page.tables['study'][0]]
    assert 'those of the first seed' in ' '.join(page.notes)
    check_page_works(path)


def test_a_study_within_budgets_ends_with_the_same_weights(study):
    root, command = study
    file = root / 'final.py'
    file.write_text(f"configs = ['{REPO / CONFIG}', dict(config='{REPO / CONFIG}', final=True)]\n"
                    'submission = True\nshare_mib = 1\n')
    command = ['tools/study.py', file, *command[command.index('--resamples'):]]
    run(*command, '--out', root / 'whole')
    seconds = json.loads((root / 'whole/mask-rcnn_r18_demo/seed0/effort.json').read_text())['seconds']
    statuses = []
    for factor in (1.2, 2.5, 5, 10, 20):
        begun = time.monotonic()
        process = start(command, '--out', root / 'budget', '--budget', f'{factor * seconds:.1f}s')
        output, _ = process.communicate()
        statuses.append(process.returncode)
        assert time.monotonic() - begun < factor * seconds + 30, output
        if process.returncode != 3:
            break
        assert 'left, ' in output
    assert statuses[0] == 3 and statuses[-1] == 0
    assert read_rows(root / 'budget') == read_rows(root / 'whole')
    for name in ('mask-rcnn_r18_demo_seed0', 'mask-rcnn_r18_demo_final_seed0'):
        states = []
        for folder in ('budget', 'whole'):
            parts = find_written(root / folder / 'share' / f'{name}.pth')
            assert len(parts) > 1 and all(part.stat().st_size <= 2 ** 20 for part in parts)
            states.append(torch.load(io.BytesIO(join_parts(parts[0])[1]))['state_dict'])
        for weight, value in states[0].items():
            assert torch.equal(value, states[1][weight]), (name, weight)
        run('tools/submit.py', '--check', root / 'budget' / name.removesuffix('_seed0') / 'seed0' / 'submission.zip',
            '--annotations', root / 'annotations' / 'test.json')


def test_out_of_fold_values_of_five_folds_are_those_of_the_gathered_dump(tmp_path):
    run('data_prep/make_demo_data.py', tmp_path / 'data', '--images', 10, '--test-images', 1, '--size', 96)
    run('data_prep/to_coco.py', tmp_path / 'data', '--out', tmp_path / 'annotations', '--jobs', 1, '--folds', 5)
    files = [f'{split}_dataloader.dataset.ann_file={tmp_path}/annotations/{split}.json'
             for split in ('train', 'val', 'test')]
    run('tools/study.py', REPO / CONFIG, '--out', tmp_path / 'study', '--folds', '5', '--resamples', '50',
        '--max-epochs', '1', '--score-thr', '.05', '--cfg-options', *TINY, *files, 'optim_wrapper.optimizer.lr=.002',
        'train_dataloader.sampler.times=3')
    row, = read_rows(tmp_path / 'study')
    assert row['n_runs'] == row['n_runs_planned'] == 5 and row['AP50_min'] < row['AP50_max']
    run('tools/evaluate.py', tmp_path / 'study' / 'mask-rcnn_r18_demo' / 'seed0_out_of_fold' / 'mask-rcnn_r18_demo.pkl',
        tmp_path / 'annotations' / 'trainval.json', '--score-thr', '.05', '--out', tmp_path / 'metrics.json')
    values = json.loads((tmp_path / 'metrics.json').read_text())['values']
    for column, name in (('AP', 'AP'), ('AP50', 'AP50'), ('AP50@100', 'AP50@100'), ('PQ', 'PQ_pooled'),
                         ('F1', 'F1@IoU.50_pooled')):
        assert row[column] == values[name], column
    assert row['AP50'] > 0
