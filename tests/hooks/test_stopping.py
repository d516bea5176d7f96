"""Trainings that are asked to stop, or killed before a validation, in real training loops with a toy model."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmdet.registry import HOOKS, METRICS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from support.toy_runner import train

from mmcell.framework.safe_loading import WeightsError, load_tensors_only
from mmcell.hooks.checkpoints import CellCheckpointHook, WholeFileBackend
from mmcell.hooks.stopping import TrainingStoppedError, _is_any

STOP = dict(default_hooks__stop=dict(type='StopHook'))


@HOOKS.register_module()
class TerminateHook(Hook):
    """Sends SIGTERM to its own process before a step."""

    def __init__(self, step):
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@HOOKS.register_module()
class TerminateAllHook(TerminateHook):
    """Sends SIGTERM to its own process and to the workers of the data loader before a step, as schedulers do."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        super().before_train_iter(runner, batch_idx, data_batch)
        if runner.iter + 1 == self.step:
            workers = multiprocessing.active_children()
            assert len(workers) == 1
            # Workers take a signal of the training itself for the end of the training.
            subprocess.run(['kill', '-TERM', str(workers[0].pid)], check=True)
            # Not join(), which would take the end of the worker from torch.
            time.sleep(1)


def hooks_until(step):
    return [dict(type='StepSeedHook'), dict(type='FiniteLossHook'), dict(type='EMAHook', momentum=.1),
            dict(type='TerminateHook', step=step)]


def weights_of(path):
    return load_tensors_only(path)['state_dict']


def files_in(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


# Inside the first epoch, at its last step (which is finished first), and inside the second epoch.
@pytest.mark.parametrize(('asked_at', 'saved'), [(2, 'iter_2.pth'), (5, 'iter_6.pth'), (8, 'iter_8.pth')])
def test_a_stopped_training_continues_exactly(ann_file, tmp_path, asked_at, saved):
    before = signal.getsignal(signal.SIGTERM)
    train(ann_file, tmp_path / 'at_once', **STOP)
    run = tmp_path / 'stopped'
    with pytest.raises(TrainingStoppedError, match='--resume continues exactly'):
        train(ann_file, run, custom_hooks=hooks_until(asked_at), **STOP)
    assert signal.getsignal(signal.SIGTERM) == before
    assert saved in files_in(run)
    assert json.loads((run / saved).with_suffix('.json').read_text())['stopped'] is True
    train(ann_file, run, resume=True, load_from=str(run / saved), **STOP)
    expected = weights_of(tmp_path / 'at_once' / 'epoch_2.pth')
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(run / 'epoch_2.pth').items())
    assert files_in(run) == ['epoch_1.pth', 'epoch_2.pth']


def test_a_second_signal_does_not_end_the_process_while_it_saves(ann_file, tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(CellCheckpointHook, 'save_where_stopped', _asked_again(CellCheckpointHook.save_where_stopped))
    before = signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    try:
        with pytest.raises(TrainingStoppedError, match='--resume continues exactly'):
            train(ann_file, tmp_path / 'run', custom_hooks=hooks_until(2), **STOP)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not ended
    assert files_in(tmp_path / 'run') == ['iter_2.pth']


def _asked_again(save):
    def ask_and_save(hook, runner):
        os.kill(os.getpid(), signal.SIGTERM)
        save(hook, runner)
    return ask_and_save


def _decide(folder, rank, asked_at, results):
    torch.distributed.init_process_group('gloo', f'file://{folder}/meeting', rank=rank, world_size=2)
    results.put((rank, next(step for step in range(9) if _is_any(rank == 1 and step >= asked_at))))


def test_all_processes_stop_at_the_step_at_which_one_is_asked(tmp_path):
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=_decide, args=(tmp_path, rank, 3, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    assert sorted(results.get(timeout=120) for _ in processes) == [(0, 3), (1, 3)]
    for process in processes:
        process.join()


def test_workers_that_get_the_signal_too_do_no_harm(ann_file, tmp_path):
    run = tmp_path / 'stopped'
    hooks = [dict(type='StepSeedHook'), dict(type='TerminateAllHook', step=3)]
    with pytest.raises(TrainingStoppedError, match='stopped after step 3'):
        train(ann_file, run, custom_hooks=hooks, train_dataloader__num_workers=1, **STOP)
    assert files_in(run) == ['iter_3.pth']


def test_a_training_of_iterations_continues_exactly(ann_file, tmp_path):
    settings = dict(train_dataloader__sampler=dict(type='SeededInfiniteSampler', shuffle=True),
                    train_cfg=dict(type='IterBasedTrainLoop', max_iters=9), **STOP,
                    default_hooks__checkpoint=dict(type='CellCheckpointHook', by_epoch=False, interval=4))
    train(ann_file, tmp_path / 'at_once', **settings)
    run = tmp_path / 'stopped'
    with pytest.raises(TrainingStoppedError):
        train(ann_file, run, custom_hooks=hooks_until(6), **settings)
    train(ann_file, run, resume=True, load_from=str(run / 'iter_6.pth'), **settings)
    expected = weights_of(tmp_path / 'at_once' / 'iter_9.pth')
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(run / 'iter_9.pth').items())
    assert files_in(run) == ['iter_4.pth', 'iter_8.pth', 'iter_9.pth']


@METRICS.register_module()
class KilledMetric(BaseMetric):
    """Gives the number of its call as a score, and fails at chosen calls, as a kill during a validation would."""

    calls = 0
    failing: tuple = ()

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        type(self).calls += 1
        if self.calls in self.failing:
            raise KeyboardInterrupt
        return dict(score=float(self.calls))


def validation(ann_file):
    return dict(
        val_dataloader=dict(
            batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='CellDataset', ann_file=str(ann_file), test_mode=True,
                         pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs')])),
        val_cfg=dict(type='ValLoop'), val_evaluator=dict(type='KilledMetric'), log_level='INFO',
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1),
        default_hooks__logger=dict(type='LoggerHook', interval=1),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        default_hooks__missed_validation=dict(type='MissedValidationHook'))


BY_EPOCH = dict(
    train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1),
    default_hooks__checkpoint=dict(type='CellCheckpointHook', interval=1, save_best='score', rule='greater'))
# Validations are after the steps 4, 8 and 9, and logs after the steps 3, 6 and 9.
BY_STEP = dict(
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=9, val_interval=4),
    train_dataloader__sampler=dict(type='InfiniteSampler', shuffle=False),
    default_hooks__logger=dict(type='LoggerHook', interval=3, log_metric_by_epoch=False),
    default_hooks__checkpoint=dict(
        type='CellCheckpointHook', interval=4, by_epoch=False, save_best='score', rule='greater'))


@pytest.mark.parametrize(('schedule', 'failing', 'last'), [
    (BY_EPOCH, 'epoch_1', 'epoch_3'), (BY_EPOCH, 'epoch_2', 'epoch_3'), (BY_EPOCH, 'epoch_3', 'epoch_3'),
    (BY_EPOCH, None, 'epoch_3'), (BY_STEP, 'iter_4', 'iter_9'), (BY_STEP, 'iter_8', 'iter_9'),
    (BY_STEP, 'iter_9', 'iter_9'), (BY_STEP, None, 'iter_9')])
def test_a_best_checkpoint_that_is_missing_is_made_up_for(ann_file, tmp_path, monkeypatch, schedule, failing, last):
    monkeypatch.setattr(KilledMetric, 'calls', 0)
    settings = {**validation(ann_file), **schedule}
    run, put = tmp_path / 'run', WholeFileBackend.put

    def put_or_fail(self, content, path):
        if Path(path).name == f'best_score_{failing}.pth':
            raise WeightsError('No space left on device')
        put(self, content, path)

    with monkeypatch.context() as patch, pytest.raises(WeightsError) if failing else contextlib.nullcontext():
        patch.setattr(WholeFileBackend, 'put', put_or_fail)
        train(ann_file, run, **settings)
    train(ann_file, run, resume=True, load_from=str(run / f'{failing or last}.pth'), **settings)
    assert [path.name for path in run.glob('best_*.pth')] == [f'best_score_{last}.pth']
    assert KilledMetric.calls == (4 if failing else 3)


def test_a_training_can_be_continued_until_its_next_checkpoint_is_there(ann_file, tmp_path, monkeypatch):
    monkeypatch.setattr(KilledMetric, 'calls', 0)
    run, settings = tmp_path / 'run', {**validation(ann_file), **BY_STEP}
    settings['default_hooks__checkpoint'] = {**BY_STEP['default_hooks__checkpoint'], 'max_keep_ckpts': 1}
    with pytest.raises(TrainingStoppedError):
        train(ann_file, run, **settings, **STOP, custom_hooks=[dict(type='TerminateHook', step=4)])
    assert not list(run.glob('best_*.pth'))
    monkeypatch.setattr(CellCheckpointHook, 'before_train_iter', mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(ann_file, run, resume=True, load_from=str(run / 'iter_4.pth'), **settings)
    assert (run / 'best_score_iter_4.pth').exists() and (run / 'iter_4.pth').exists()


@pytest.mark.parametrize(('failing', 'expected'), [((2,), 4), ((3,), 4), ((), 3)])
def test_a_missed_validation_is_made_up_for(ann_file, tmp_path, monkeypatch, failing, expected):
    monkeypatch.setattr(KilledMetric, 'calls', 0)
    monkeypatch.setattr(KilledMetric, 'failing', failing)
    run = tmp_path / 'run'
    if failing:
        with pytest.raises(KeyboardInterrupt):
            train(ann_file, run, **validation(ann_file))
        newest = f'epoch_{failing[0]}.pth'
        train(ann_file, run, resume=True, load_from=str(run / newest), **validation(ann_file))
    else:
        train(ann_file, run, **validation(ann_file))
        train(ann_file, run, resume=True, load_from=str(run / 'epoch_3.pth'), **validation(ann_file))
    assert KilledMetric.calls == expected
