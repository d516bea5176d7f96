"""tools/study.py from its first call to the last one, with stand-ins for the training and the test."""

import json
import signal
import zipfile
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import tifffile
import torch
from support.commands import call, load_command
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.files.parts import join_parts
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import save_results
from mmcell.studies.facts import add_share

STUDY = 'tools/study.py'
SIZE = (40, 60)
CELLS = encode_label_map(discs(SIZE, [(1, 10, 10, 6), (2, 24, 30, 8), (3, 12, 48, 5)]))
# Trains in 80 steps of 20 ms, logs each tenth as an epoch, and copies a checkpoint at the end.
TRAIN = '''
import json, shutil, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index('--work-dir') + 1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
logs = folder / '20260101_000000' / 'vis_data'
logs.mkdir(parents=True, exist_ok=True)
steps = folder / 'steps.txt'
done = len(steps.read_text()) if steps.exists() else 0
while done < 80:
    time.sleep(.02)
    done += 1
    steps.write_text('x' * done)
    if done % 10 == 0:
        with open(logs / 'scalars.json', 'a') as file:
            print(json.dumps(dict(loss=1., iter=done, epoch=done // 10, step=done)), file=file)
            print(json.dumps(dict(AP50=done / 100, step=done // 10)), file=file)
    if asked:
        sys.exit(3)
shutil.copy('ROOT/trained.pth', folder / 'epoch_8.pth')
'''
TEST = '''
import shutil, sys
split, out = (sys.argv[sys.argv.index(flag) + 1] for flag in ('--split', '--out'))
shutil.copy(f'ROOT/{split}.pkl', out)
'''


@pytest.fixture(autouse=True)
def own_signals():
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def study(tmp_path):
    """Writes a study file with a usual and a final training, their data, and the results of the stand-ins."""
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    for name, ids in (('train', [1]), ('trainval', [1, 2, 3]), ('val', [2, 3]), ('test', [4, 5])):
        cells = [dict(id=10 * i + k, image_id=i, category_id=1, segmentation=CELLS.rles[k - 1], iscrowd=0,
                      area=int(CELLS.areas_px[k - 1]), bbox=CELLS.bboxes_xywh[k - 1].tolist())
                 for i in ids for k in (1, 2, 3)]
        (tmp_path / f'{name}.json').write_text(json.dumps(dict(
            images=[dict(id=i, file_name=f'{i}.tif', height=SIZE[0], width=SIZE[1]) for i in ids],
            categories=categories(['a', 'b']), annotations=cells if name != 'test' else [],
            info=dict(data_root=str(tmp_path)))))
        for i in ids:
            tifffile.imwrite(tmp_path / f'{i}.tif', np.full((*SIZE, 3), 200, np.uint8))
        save_results([dict(img_id=i, ori_shape=SIZE, classes=['a', 'b'], pred_instances=dict(
            bboxes=boxes, scores=np.linspace(.6, .9, 3, dtype=np.float32), masks=CELLS.rles,
            labels=np.zeros(3, np.int64))) for i in ids], tmp_path / f'{name}.pkl')
    torch.save({'state_dict': {'a.weight': torch.rand(600, 600)}, 'meta': {}}, tmp_path / 'trained.pth')
    loaders = ''.join(f"{part}_dataloader = dict(dataset=dict(type='CellDataset', "
                      f"ann_file={str(tmp_path / part)!r} + '.json'))\n" for part in ('train', 'val', 'test'))
    (tmp_path / 'net.py').write_text(f'{loaders}train_cfg = dict(max_epochs=8)\nval_cfg = dict()\n'
                                     'val_evaluator = dict()\n')
    (tmp_path / 'studies').mkdir()
    path = tmp_path / 'studies' / 'small.py'
    path.write_text("configs = ['../net.py', dict(config='../net.py', final=True)]\nsubmission = True\nshare_mib = 1\n")
    (tmp_path / 'tools').mkdir()
    for name, text in (('train', TRAIN), ('test', TEST)):
        (tmp_path / 'tools' / f'{name}.py').write_text(text.replace('ROOT', str(tmp_path)))
    return path


def run_study(study, *arguments):
    root = study.parents[1]
    command = load_command(STUDY)
    make_commands = command.make_commands
    with mock.patch.object(command, 'make_commands',
                           lambda *args: replace(make_commands(*args), tools=root / 'tools')):
        return call(STUDY, study, '--out', root / 'out', '--resamples', '20', *arguments)


def test_a_study_that_is_stopped_continues_and_collects_what_matters(study):
    out = study.parents[1] / 'out'
    stopped = run_study(study, '--budget', '1s')
    assert stopped.returncode == 3, stopped.stderr
    assert '2 trainings and 3 tests are left, ' in stopped.stdout and 'the same command continues' in stopped.stdout
    assert not list(out.glob('*/*/trained.json'))
    assert [path.name for path in (out / 'share').iterdir()] == ['results.zip']
    ended = run_study(study)
    assert ended.returncode == 0, ended.stderr
    assert '[2/2] net_final/seed0: done' in ended.stdout
    # Only the usual training has a row.
    assert [row['name'] for row in json.loads((out / 'table.json').read_text())['rows']] == ['net']
    for name in ('net', 'net_final'):
        folder = out / name / 'seed0'
        assert len((folder / 'steps.txt').read_text()) == 80
        checked = call('tools/submit.py', '--check', folder / 'submission.zip', '--annotations',
                       study.parents[1] / 'test.json')
        assert checked.returncode == 0 and '6 detections, valid' in checked.stdout
    assert (out / 'net/seed0/net.pkl').exists() and not (out / 'net_final/seed0/net_final.pkl').exists()
    names = sorted(path.name for path in (out / 'share').iterdir())
    # 600 x 600 numbers of 2 bytes each.
    assert len(names) == 3 and 'results.zip' in names
    for path in (out / 'share').glob('*.pth*'):
        _, content = join_parts(path)
        assert 720_000 < len(content) < 740_000
    with zipfile.ZipFile(out / 'share' / 'results.zip') as archive:
        members = set(archive.namelist())
    assert {'table.md', 'report.html', 'net/seed0/trained.json', 'net/seed0/net.pkl', 'net/seed0/submission.zip',
            'net/seed0/20260101_000000/vis_data/scalars.json', 'net_final/seed0/test_images/net_final.pkl'} <= members
    again = run_study(study)
    assert again.returncode == 0 and '…' not in again.stdout


def test_weights_for_which_there_is_no_time_are_left_for_the_next_call(study):
    out = study.parents[1] / 'out'
    assert run_study(study).returncode == 0
    weights = sorted((out / 'share').glob('*.pth*'))
    for path in weights:
        path.unlink()
    add_share(out / 'net' / 'seed0', 1e5)
    left = run_study(study, '--budget', '1h')
    assert left.returncode == 0
    assert 'no time for the weights of 2 trainings; the same command writes them' in left.stdout
    assert not list((out / 'share').glob('*.pth*'))
    assert run_study(study).returncode == 0 and sorted((out / 'share').glob('*.pth*')) == weights


def test_what_is_left_is_said_before_anything_begins(study):
    listed = run_study(study, '--dry-run')
    assert listed.returncode == 0 and not (study.parents[1] / 'out').exists()
    assert listed.stdout == ('to do  net/seed0\nto do  net_final/seed0\n'
                             '2 trainings and 3 tests are left, for a time that is not known yet\n')
    without = run_study(study, '--dry-run', '--no-submission')
    assert '2 trainings and 1 test are left' in without.stdout


def test_a_submission_without_test_images_is_refused(study):
    (study.parents[1] / 'test.json').unlink()
    refused = run_study(study, '--budget', '1s')
    assert refused.returncode == 1 and 'no annotation file' in refused.stderr
