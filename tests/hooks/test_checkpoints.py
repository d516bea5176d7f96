"""The hook that writes checkpoints, tested in real training loops with a toy model."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.runner.checkpoint import save_checkpoint
from support.toy_runner import toy_config, train

from mmcell.checkpoints.fit import FitError
from mmcell.checkpoints.records import find_checkpoint, read_record
from mmcell.checkpoints.runs import OtherRunError
from mmcell.framework.console import ConsoleRunner, NoBatchError
from mmcell.framework.safe_loading import WeightsError, load_tensors_only
from mmcell.hooks.checkpoints import WholeFileBackend
from mmcell.hooks.steps import ResumeError


def differences(first, second, name=''):
    """The names of the entries that differ between two checkpoints."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [name]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [entry for key in first for entry in differences(first[key], second[key], f'{name}/{key}')]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [entry for i, (a, b) in enumerate(zip(first, second, strict=True))
                for entry in differences(a, b, f'{name}/{i}')]
    return [] if first == second else [name]


def learned(path):
    """The entries of a checkpoint that training changes."""
    checkpoint = load_tensors_only(path)
    return {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')}


WORKERS = dict(train_dataloader__num_workers=2, train_dataloader__persistent_workers=True)
BY_ITERATION = dict(
    train_dataloader__sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=9),
    default_hooks__checkpoint=dict(type='CellCheckpointHook', by_epoch=False, interval=4))


@pytest.mark.parametrize('overrides, halfway_file, last_file', [
    ({}, 'epoch_1.pth', 'epoch_2.pth'),
    (WORKERS, 'epoch_1.pth', 'epoch_2.pth'),
    (BY_ITERATION, 'iter_4.pth', 'iter_9.pth'),
    ({**BY_ITERATION, **WORKERS}, 'iter_8.pth', 'iter_9.pth'),
], ids=['epochs', 'epochs with workers', 'iterations', 'iterations with workers'])
def test_resuming_is_exact(ann_file, tmp_path, overrides, halfway_file, last_file):
    train(ann_file, tmp_path / 'at_once', **overrides)
    # The state of the generators before the resumed run must not matter.
    torch.rand(7)
    train(ann_file, tmp_path / 'in_two', resume=True, load_from=str(tmp_path / 'at_once' / halfway_file), **overrides)
    at_once, in_two = (learned(tmp_path / name / last_file) for name in ('at_once', 'in_two'))
    assert differences(at_once, in_two) == []
    assert differences(learned(tmp_path / 'at_once' / halfway_file), at_once)
    if not overrides:
        train(ann_file, tmp_path / 'with_workers', **WORKERS)
        assert differences(at_once, learned(tmp_path / 'with_workers' / last_file)) == []


@pytest.mark.parametrize('missing', [
    dict(custom_hooks=[dict(type='EMAHook', momentum=.1)]),
    dict(train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True)),
], ids=['steps', 'samples'])
def test_resuming_is_not_exact_without_seeds(ann_file, tmp_path, missing):
    train(ann_file, tmp_path / 'at_once', **missing)
    train(ann_file, tmp_path / 'in_two', resume=True, load_from=str(tmp_path / 'at_once' / 'epoch_1.pth'), **missing)
    assert differences(learned(tmp_path / 'at_once' / 'epoch_2.pth'), learned(tmp_path / 'in_two' / 'epoch_2.pth'))


def test_the_log_continues_after_resuming(ann_file, tmp_path, caplog):
    train(ann_file, tmp_path / 'a')
    runner = train(ann_file, tmp_path / 'b', resume=True, load_from=str(tmp_path / 'a' / 'epoch_1.pth'))
    assert len(runner.message_hub.log_scalars['train/loss'].data[0]) == 10
    assert 'metainfo' not in caplog.text


def test_a_record_lies_beside_each_checkpoint(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run')
    record = json.loads((tmp_path / 'run' / 'epoch_2.json').read_text())
    data, = record['data']['train']
    assert record['epoch'] == 2 and record['seed'] == 3
    assert record['software']['torch'] == torch.__version__.split('+')[0]
    assert data['classes'] == ['a', 'b'] and data['channel_order'] == 'rgb' and len(data['sha256']) == 64
    assert set(data['images']) == {'train/a/image.tif', 'train/b/image.tif'}
    assert Config.fromstring(record['config'], '.py').model.type == 'ToyModel'
    meta = load_tensors_only(tmp_path / 'run' / 'epoch_2.pth')['meta']
    assert meta['mmcell'] == {key: record[key] for key in ('run', 'best', 'software', 'data', 'parameters')}


def test_the_old_checkpoint_is_removed_only_when_the_new_one_exists(ann_file, tmp_path, monkeypatch):
    files_before_put = []
    put = WholeFileBackend.put

    def note_files_and_put(self, obj, filepath):
        files_before_put.append((Path(filepath).name, sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))))
        put(self, obj, filepath)

    monkeypatch.setattr(WholeFileBackend, 'put', note_files_and_put)
    train(ann_file, tmp_path / 'run', train_cfg__max_epochs=3, default_hooks__checkpoint__max_keep_ckpts=1)
    assert ('epoch_3.pth', ['epoch_2.pth']) in files_before_put
    assert sorted(path.name for path in (tmp_path / 'run').glob('epoch_*')) == ['epoch_3.json', 'epoch_3.pth']


def test_a_full_disk_leaves_the_last_checkpoint(ann_file, tmp_path, monkeypatch):
    write_bytes = Path.write_bytes

    def write_half_of_epoch_2(self, content):
        if 'epoch_2.pth' in self.name:
            write_bytes(self, content[:len(content) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write_bytes(self, content)

    monkeypatch.setattr(Path, 'write_bytes', write_half_of_epoch_2)
    with pytest.raises(WeightsError, match=r'epoch_2\.pth cannot be written \(No space left on device\)'):
        train(ann_file, tmp_path / 'run', default_hooks__checkpoint__max_keep_ckpts=1)
    assert sorted(path.name for path in (tmp_path / 'run').glob('*epoch*')) == ['epoch_1.json', 'epoch_1.pth']
    load_tensors_only(tmp_path / 'run' / 'epoch_1.pth')


def test_the_record_appears_with_the_checkpoint_or_not_at_all(tmp_path, monkeypatch):
    WholeFileBackend(description='{}').put(b'weights', tmp_path / 'a.pth')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'a.pth']
    monkeypatch.setattr(Path, 'write_bytes', lambda self, content: pytest.fail() if content == b'2' else None)
    with pytest.raises(pytest.fail.Exception):
        WholeFileBackend(description='{}').put(b'2', tmp_path / 'b.pth')
    assert len(list(tmp_path.iterdir())) == 2


class Improving(BaseMetric):
    """A metric whose value rises by 1 with each validation, from a given value."""

    value_names = ('AP50',)

    def __init__(self, value):
        super().__init__(prefix='')
        self.value = value

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.value += 1
        return {'AP50': self.value}


def validated(ann_file, value):
    """Overrides of the toy config that validate with :class:`Improving`."""
    loader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
                  dataset=dict(type='CellDataset', ann_file=str(ann_file), test_mode=True,
                               pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs', meta_keys=())]))
    return dict(val_dataloader=loader, val_cfg=dict(type='ValLoop'), val_evaluator=dict(type=Improving, value=value),
                default_hooks__checkpoint__save_best='AP50', default_hooks__checkpoint__rule='greater')


@pytest.mark.parametrize('value', [0, 10], ids=['better', 'worse'])
def test_the_best_checkpoint_of_another_folder_stays(ann_file, tmp_path, value):
    train(ann_file, tmp_path / 'first', **validated(ann_file, 10 - value))
    names = sorted(path.name for path in (tmp_path / 'first').glob('*.pth'))
    assert names == ['best_AP50_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth']
    shutil.copytree(tmp_path / 'first', tmp_path / 'copy')
    train(ann_file, tmp_path / 'second', resume=True, load_from=str(tmp_path / 'first' / 'epoch_1.pth'),
          **validated(ann_file, value))
    assert sorted(path.name for path in (tmp_path / 'first').glob('*.pth')) == names
    assert (tmp_path / 'second' / 'best_AP50_epoch_2.pth').exists()


def test_two_annotation_files_train_together_and_resume_exactly(ann_file, tmp_path):
    (tmp_path / 'again.json').write_bytes(ann_file.read_bytes())
    dataset = toy_config(ann_file, tmp_path / 'x').train_dataloader.dataset
    joined = dict(type='ConcatDataset', datasets=[dataset, {**dataset, 'ann_file': str(tmp_path / 'again.json')}])
    hooks = [dict(type='ClassCountHook'), dict(type='StepSeedHook')]
    train(ann_file, tmp_path / 'at_once', train_dataloader__dataset=joined, custom_hooks=hooks)
    train(ann_file, tmp_path / 'in_two', train_dataloader__dataset=joined, custom_hooks=hooks, resume=True,
          load_from=str(tmp_path / 'at_once' / 'epoch_1.pth'))
    first, second = (load_tensors_only(tmp_path / name / 'epoch_2.pth') for name in ('at_once', 'in_two'))
    assert differences(first['state_dict'], second['state_dict']) == []
    assert [data['ann_file'] for data in first['meta']['mmcell']['data']['train']] == [
        str(ann_file), str(tmp_path / 'again.json')]


def test_leftovers_of_a_killed_run_are_removed(ann_file, tmp_path):
    (tmp_path / 'run').mkdir()
    ended_process = subprocess.Popen([sys.executable, '-c', ''])
    ended_process.wait()
    leftovers = [tmp_path / 'run' / f'.epoch_1.{suffix}.{ended_process.pid}.tmp' for suffix in ('pth', 'json')]
    for leftover in leftovers:
        leftover.write_bytes(b'half')
    train(ann_file, tmp_path / 'run')
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_checkpoint_with_only_weights_cannot_be_resumed(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run')
    checkpoint = load_tensors_only(tmp_path / 'run' / 'epoch_1.pth')
    save_checkpoint({key: checkpoint[key] for key in ('meta', 'state_dict', 'message_hub')}, str(tmp_path / 'best.pth'))
    with pytest.raises(WeightsError, match='no optimizer state'):
        train(ann_file, tmp_path / 'run', resume=True, load_from=str(tmp_path / 'best.pth'))


def test_a_finished_training_is_reported(ann_file, tmp_path, caplog):
    train(ann_file, tmp_path / 'run')
    train(ann_file, tmp_path / 'again', resume=True, load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    assert not (tmp_path / 'again' / 'epoch_2.pth').exists()
    logs = list((tmp_path / 'again').glob('*/*.log'))
    assert any('Nothing to train: 10 of 10 steps are done' in log.read_text() for log in logs)


def test_a_loss_that_is_not_finite_stops_the_training_and_saves_the_batch(ann_file, tmp_path):
    from mmcell.hooks import NonFiniteLossError
    with pytest.raises(NonFiniteLossError, match=r'step 3: loss is nan. Images of the batch: .*image\.tif, .*\.tif;'):
        train(ann_file, tmp_path / 'run', model__nan_at=2)
    folder, = (tmp_path / 'run').glob('*/nonfinite_batch_iter2_rank0')
    batch = torch.load(folder / 'batch.pth', weights_only=True)
    assert len(batch['inputs']) == 2 and batch['inputs'][0].shape == (3, 20, 20)
    assert [len(masks) for masks in batch['masks']] == [len(boxes) for boxes in batch['bboxes']]
    assert sorted(path.name for path in folder.glob('*.png')) == ['0.png', '1.png']
    assert not list((tmp_path / 'run').glob('*.pth'))


def names_in(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


def log_of(folder):
    return ''.join(path.read_text() for path in sorted(Path(folder).glob('*/*.log')))


@pytest.mark.parametrize('overrides, difference', [
    (dict(optim_wrapper__optimizer__lr=.02), r'optim_wrapper\.optimizer\.lr \(0\.01 there, 0\.02 here\)'),
    (dict(randomness__seed=4), r'randomness\.seed \(3 there, 4 here\)'),
    (dict(train_cfg__max_epochs=1), r'train_cfg\.max_epochs \(2 there, 1 here\)'),
])
def test_a_folder_with_another_training_is_refused(ann_file, tmp_path, overrides, difference):
    train(ann_file, tmp_path / 'run')
    content = (tmp_path / 'run' / 'epoch_2.pth').read_bytes()
    with pytest.raises(OtherRunError, match=rf'another training \(epoch_2\.pth\), which differs: {difference}\. .*'
                                            '--resume.*--work-dir FOLDER.*another name'):
        train(ann_file, tmp_path / 'run', **overrides)
    assert (tmp_path / 'run' / 'epoch_2.pth').read_bytes() == content
    assert names_in(tmp_path / 'run') == ['epoch_1.pth', 'epoch_2.pth']


def test_a_folder_with_a_training_on_other_data_is_refused(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run')
    document = json.loads(ann_file.read_text())
    document['annotations'].pop()
    ann_file.write_text(json.dumps(document))
    with pytest.raises(OtherRunError, match=r'other images or annotations in .*train\.json'):
        train(ann_file, tmp_path / 'run')


def test_a_training_that_is_started_again_moves_its_earlier_checkpoints(ann_file, tmp_path):
    settings = validated(ann_file, 0)
    train(ann_file, tmp_path / 'run', **settings)
    before = {name: (tmp_path / 'run' / name).read_bytes() for name in names_in(tmp_path / 'run')}
    settings['val_evaluator']['value'] = 0
    train(ann_file, tmp_path / 'run', **settings)
    moved, = (tmp_path / 'run').glob('replaced_by_*')
    assert {path.name: path.read_bytes() for path in moved.glob('*.pth')} == before
    assert {path.stem for path in moved.glob('*.json')} == {Path(name).stem for name in before}
    assert find_checkpoint(tmp_path / 'run') == str(tmp_path / 'run' / 'best_AP50_epoch_2.pth')
    assert f'were moved to {moved}' in log_of(tmp_path / 'run')


def test_a_training_that_is_resumed_from_an_earlier_step_moves_the_later_checkpoints(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run', **validated(ann_file, 0))
    train(ann_file, tmp_path / 'run', resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'),
          **validated(ann_file, -10))
    moved, = (tmp_path / 'run').glob('replaced_by_*')
    assert names_in(moved) == ['best_AP50_epoch_2.pth', 'epoch_2.pth']
    assert names_in(tmp_path / 'run') == ['best_AP50_epoch_2.pth', 'epoch_1.pth', 'epoch_2.pth']


@pytest.mark.parametrize('move', [shutil.move, shutil.copytree])
def test_a_moved_work_folder_keeps_its_best_checkpoint(ann_file, tmp_path, move):
    settings = dict(train_cfg__max_epochs=3)
    train(ann_file, tmp_path / 'old', **settings, **validated(ann_file, 5))
    for path in (tmp_path / 'old').glob('*epoch_3.*'):
        path.unlink()
    record = read_record(tmp_path / 'old' / 'epoch_2.pth')
    # The checkpoint of the second epoch that was best, as the folder had it before the third epoch.
    shutil.copy(tmp_path / 'old' / 'epoch_2.pth', tmp_path / 'old' / 'best_AP50_epoch_2.pth')
    shutil.copy(tmp_path / 'old' / 'epoch_2.json', tmp_path / 'old' / 'best_AP50_epoch_2.json')
    assert record.best_values == {'AP50': (7, 'greater')}
    move(str(tmp_path / 'old'), str(tmp_path / 'new'))
    train(ann_file, tmp_path / 'new', resume=True, load_from=str(tmp_path / 'new' / 'epoch_2.pth'), **settings,
          **validated(ann_file, 0))
    assert names_in(tmp_path / 'new')[0] == 'best_AP50_epoch_2.pth'
    assert find_checkpoint(tmp_path / 'new') == str(tmp_path / 'new' / 'best_AP50_epoch_2.pth')
    assert 'best_AP50_epoch_3.pth' not in names_in(tmp_path / 'new')


INSIDE = dict(default_hooks__checkpoint=dict(type='CellCheckpointHook', by_epoch=False, interval=1))


def test_resuming_inside_an_epoch_is_exact(ann_file, tmp_path):
    train(ann_file, tmp_path / 'at_once', **INSIDE)
    # In the first epoch, at its end, and in the second epoch.
    for step, workers in ((1, {}), (5, {}), (7, WORKERS)):
        train(ann_file, tmp_path / f'from_{step}', resume=True,
              load_from=str(tmp_path / 'at_once' / f'iter_{step}.pth'), **INSIDE, **workers)
        assert differences(*(learned(tmp_path / name / 'iter_10.pth') for name in ('at_once', f'from_{step}'))) == []
        assert not (tmp_path / f'from_{step}' / 'iter_11.pth').exists()


@pytest.mark.parametrize('overrides', [
    dict(train_dataloader__batch_size=1), dict(train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True)),
    dict(train_dataloader__batch_sampler=dict(type='AspectRatioBatchSampler')),
])
def test_an_epoch_that_cannot_be_continued_exactly_is_refused(ann_file, tmp_path, overrides):
    train(ann_file, tmp_path / 'run', **INSIDE)
    with pytest.raises(ResumeError, match='saved inside epoch 1, at step 2'):
        train(ann_file, tmp_path / 'again', resume=True, load_from=str(tmp_path / 'run' / 'iter_2.pth'), **INSIDE,
              **overrides)


@pytest.mark.parametrize('overrides, warning', [
    # The cosine has done a third of its steps, and a half.
    (dict(train_cfg__max_epochs=3), 'another length .* continues at 0.0075,'),
    (dict(train_dataloader__batch_size=4), 'another length .* continues at 0.005,'),
    (dict(param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True, end=1)]),
     r'no effect, .*: param_scheduler\.0\.end \(not set there, 1 here'),
    (dict(param_scheduler=[dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)],
          train_cfg__max_epochs=3), 'schedule is 10 steps long; the training goes on to step 15 with its last value'),
    (dict(optim_wrapper__optimizer__lr=.02), r'no effect, .*: optim_wrapper\.optimizer\.lr \(0\.01 there, 0\.02 here'),
    (dict(param_scheduler=[dict(type='CosineAnnealingLR', eta_min=.1, by_epoch=True, convert_to_iter_based=True)]),
     r'no effect, .*: param_scheduler\.0\.eta_min \(not set there, 0\.1 here'),
    # MMEngine takes the seed from the checkpoint.
    (dict(randomness__seed=7), r'no effect, .*: randomness\.seed \(\d+ there, 7 here'),
    (dict(train_dataloader__sampler__times=4), r'new from this step on: train_dataloader\.sampler\.times \(5 there'),
    (dict(optim_wrapper__clip_grad=dict(max_norm=1.)), r'new from this step on: optim_wrapper\.clip_grad \(not'),
])
def test_what_a_changed_setting_leads_to_when_a_training_is_resumed_is_told(ann_file, tmp_path, overrides, warning):
    train(ann_file, tmp_path / 'run')
    train(ann_file, tmp_path / 'same', resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'))
    assert '--resume' not in log_of(tmp_path / 'same')
    train(ann_file, tmp_path / 'new', resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'), **overrides)
    assert re.search(warning, log_of(tmp_path / 'new')) and '--work-dir FOLDER' in log_of(tmp_path / 'new')


def test_a_resumed_training_records_the_seed_that_it_goes_on_with(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run')
    runner = train(ann_file, tmp_path / 'new', resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'),
                   randomness__seed=7)
    record = json.loads((tmp_path / 'new' / 'epoch_2.json').read_text())
    assert runner.seed == record['seed'] == 3
    assert "'seed': 3" in record['config'] and "'seed': 7" not in record['config']


@pytest.mark.parametrize('overrides, message', [
    (dict(optim_wrapper__optimizer=dict(type='SGD', lr=.1)), r"optimizer\.type \('AdamW' there, 'SGD' here\)"),
    (dict(param_scheduler=[]), r'param_scheduler\.0 \(\{.*… there, not set here\)'),
    (dict(model__n_hidden=9), 'of another model.*leave out --resume and name another folder with --work-dir FOLDER'),
    (dict(model__nan_at=50), r'model\.nan_at \(-1 there, 50 here\)'),
])
def test_a_state_that_does_not_fit_is_refused(ann_file, tmp_path, overrides, message):
    train(ann_file, tmp_path / 'run')
    with pytest.raises(FitError, match=message):
        train(ann_file, tmp_path / 'new', resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'), **overrides)


def test_a_training_does_not_start_from_a_checkpoint_of_another_model(ann_file, tmp_path):
    torch.save({f'body.{index}': torch.ones(2) for index in range(9)}, tmp_path / 'other.pth')
    with pytest.raises(FitError, match=r'load_from: only 0 of the 9 weights of the model are in .*other\.pth .*; there '
                                       r'instead: body\.0;'):
        train(ann_file, tmp_path / 'run', load_from=str(tmp_path / 'other.pth'))
    train(ann_file, tmp_path / 'run')
    train(ann_file, tmp_path / 'wider', load_from=str(tmp_path / 'run' / 'epoch_2.pth'), log_level='INFO',
          model__n_outputs=4)
    assert '7 of the 9 weights of the model are in' in log_of(tmp_path / 'wider')


@pytest.mark.parametrize('overrides, message', [
    (dict(default_hooks__checkpoint__save_best='ap50'), r"save_best is 'ap50', .* gives AP50: did you mean 'AP50'\?"),
    (dict(custom_hooks=[dict(type='WatchedValueHook'), dict(type='CellEarlyStoppingHook', monitor='AP')]),
     "monitor of CellEarlyStoppingHook is 'AP'"),
    (dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='loss')]), "monitor of ReduceOnPlateauLR is 'loss'"),
    (dict(custom_hooks=[dict(type='WatchedValueHook'), dict(type='CellEarlyStoppingHook', monitor='AP50')],
          val_dataloader=None, val_cfg=None, val_evaluator=None), 'by a validation, but the config has none'),
])
def test_a_value_that_no_validation_gives_stops_before_the_first_step(ann_file, tmp_path, overrides, message):
    hooks = dict(custom_hooks=[dict(type='WatchedValueHook')], train_cfg__max_epochs=1)
    with pytest.raises(FitError, match=message):
        train(ann_file, tmp_path / 'run', **{**validated(ann_file, 0), **hooks, **overrides})
    train(ann_file, tmp_path / 'right', **{**validated(ann_file, 0), 'default_hooks__checkpoint__rule': None}, **hooks)


def test_data_without_a_batch_stop_before_the_first_step(ann_file, tmp_path):
    config = toy_config(ann_file, tmp_path / 'run', train_dataloader__batch_size=11, param_scheduler=[])
    config.train_dataloader.drop_last = True
    with pytest.raises(NoBatchError, match='2 images do not fill one batch of 11'):
        ConsoleRunner.from_cfg(config).train()
