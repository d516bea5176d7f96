"""Trackers follow trainings of a toy model, which are interrupted and resumed; TensorBoard's files are read back."""

import json
import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from mmdet.registry import HOOKS, METRICS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from support.toy_runner import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmcell.visualization.trackers import TrackerError


@HOOKS.register_module()
class InterruptHook(Hook):
    """Ends the process before a step, or before a validation, in which nothing is closed."""

    def __init__(self, step=-1, validation=-1):
        self.step, self.validation = step, validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.step:
            raise KeyboardInterrupt

    def before_val_epoch(self, runner):
        if runner.epoch == self.validation:
            raise KeyboardInterrupt


@METRICS.register_module()
class EpochMetric(BaseMetric):
    """Gives values that depend on nothing but the number of images."""

    def process(self, data_batch, data_samples):
        self.results.append(.25)

    def compute_metrics(self, results):
        return {'AP50': sum(results), 'AP50@100': .1}


def settings_of(ann_file, *backends, interrupt=None):
    return dict(
        val_dataloader=dict(
            batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='CellDataset', ann_file=str(ann_file), test_mode=True,
                         pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs')])),
        val_cfg=dict(type='ValLoop'), val_evaluator=dict(type='EpochMetric'),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1),
        default_hooks__logger=dict(type='LoggerHook', interval=2), default_hooks__trackers=dict(type='TrackerHook'),
        default_hooks__missed_validation=dict(type='MissedValidationHook'),
        custom_hooks=[dict(type='StepSeedHook'), dict(type='InterruptHook', **(interrupt or {}))],
        visualizer=dict(type='CellVisualizer', vis_backends=list(backends)))


def interrupt_and_resume(ann_file, work_dir, checkpoint, interrupt, *backends):
    with pytest.raises(KeyboardInterrupt):
        train(ann_file, work_dir, **settings_of(ann_file, *backends, interrupt=interrupt))
    return train(ann_file, work_dir, resume=True, load_from=str(work_dir / checkpoint),
                 **settings_of(ann_file, *backends))


def read_events(work_dir):
    """Returns the values in the event files of a work folder, by step, which are all in one folder, and their tags."""
    folder, = {path.parent for path in work_dir.rglob('events.out.tfevents*')}
    events = EventAccumulator(str(folder)).Reload()
    # The times of computing differ.
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()['scalars'] if not tag.endswith('time')}, set(events.Tags()['scalars'])


# Inside the third epoch, after a step that is done again; and between the checkpoint and the validation of an epoch.
@pytest.mark.parametrize(('checkpoint', 'interrupt'), [('epoch_2.pth', dict(step=14)),
                                                       ('epoch_2.pth', dict(validation=2))])
def test_tensorboard_shows_a_resumed_training_as_an_uninterrupted_one(ann_file, tmp_path, checkpoint, interrupt):
    train(ann_file, tmp_path / 'whole', **settings_of(ann_file, 'TensorboardVisBackend'))
    interrupt_and_resume(ann_file, tmp_path / 'run', checkpoint, interrupt, 'TensorboardVisBackend')
    assert len(list((tmp_path / 'run').rglob('events.out.tfevents*'))) == 2
    whole, tags = read_events(tmp_path / 'whole')
    assert read_events(tmp_path / 'run')[0] == whole
    assert [step for step, _ in whole['train/loss']] == [2, 4, 7, 9, 12, 14]
    # Validations lie at the last step of their epochs.
    assert whole['val/AP50'] == [(5, .5), (10, .5), (15, .5)] and [step for step, _ in whole['val/AP50_at_100']] == [
        5, 10, 15]
    assert tags == {*(f'train/{name}' for name in ('loss', 'lr', 'epoch', 'time', 'data_time')),
                    *(f'val/{name}' for name in ('AP50', 'AP50_at_100', 'time', 'data_time'))}


def test_the_log_of_the_work_folder_is_there_and_as_without_a_tracker(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run', **settings_of(ann_file, 'TensorboardVisBackend'))
    log, = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record['step'] for record in records] == [2, 4, 1, 7, 9, 2, 12, 14, 3]
    assert {'AP50', 'AP50@100', 'step'} <= records[2].keys() and 'loss' in records[0]


def test_a_training_in_another_folder_leaves_the_curves_of_the_first(ann_file, tmp_path):
    train(ann_file, tmp_path / 'a', **settings_of(ann_file, 'TensorboardVisBackend'))
    before, _ = read_events(tmp_path / 'a')
    train(ann_file, tmp_path / 'b', resume=True, load_from=str(tmp_path / 'a' / 'epoch_3.pth'),
          **{**settings_of(ann_file, 'TensorboardVisBackend'), 'train_cfg': dict(
              type='EpochBasedTrainLoop', max_epochs=4, val_interval=1)})
    assert read_events(tmp_path / 'a')[0] == before
    assert [step for step, _ in read_events(tmp_path / 'b')[0]['train/loss']] == [17, 19]


class Recorder:
    """Stands for any object of a tracker's package: keeps the calls of its functions, by the names of these."""

    def __init__(self, **attributes):
        self.calls = []
        vars(self).update(attributes)

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))

    def called(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


@pytest.fixture
def package(monkeypatch):
    """Puts a module with the attributes of a recorder into the place of a package."""
    def replace(name, **attributes):
        recorder = Recorder(**attributes)
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, origin='test')
        module.__getattr__ = lambda attribute: getattr(recorder, attribute)
        monkeypatch.setitem(sys.modules, name, module)
        return recorder
    return replace


def test_wandb_goes_on_in_the_same_run_over_the_steps_of_the_training(ann_file, tmp_path, package):
    wandb = package('wandb', run=Recorder(id='abc'), config=Recorder())
    backend = dict(type='WandbVisBackend', init_kwargs=dict(project='cells'))
    interrupt_and_resume(ann_file, tmp_path / 'run', 'epoch_2.pth', dict(step=14), backend)
    (_, first), (_, second) = wandb.called('init')
    assert second == dict(id='abc', resume='allow', allow_val_change=True, project='cells', dir=first['dir'])
    assert first == dict(project='cells', dir=first['dir'])
    assert [kwargs['allow_val_change'] for _, kwargs in wandb.config.called('update')] == [False, True]
    assert wandb.called('define_metric') == [(('*',), dict(step_metric='step'))] * 2
    logged = [values for (values,), _ in wandb.called('log')]
    assert [values['step'] for values in logged] == [2, 4, 5, 7, 9, 10, 12, 12, 14, 15]
    assert {'val/AP50', 'val/AP50_at_100'} <= logged[2].keys() and 'train/lr' in logged[0]


def test_mlflow_goes_on_in_the_same_run(ann_file, tmp_path, package):
    run = SimpleNamespace(info=SimpleNamespace(run_id='abc'))
    mlflow = package('mlflow', active_run=lambda: run, get_tracking_uri=lambda: 'sqlite:///x.db',
                     get_experiment_by_name=lambda name: None, MlflowException=ValueError)
    interrupt_and_resume(ann_file, tmp_path / 'run', 'epoch_2.pth', dict(step=14), 'MLflowVisBackend')
    assert mlflow.called('start_run') == [((), dict(run_id='abc'))]
    assert {args for args, _ in mlflow.called('set_tracking_uri')} == {('sqlite:///x.db',)}
    # MLflow refuses other values of parameters.
    first, second = (args[0] for args, _ in mlflow.called('log_params'))
    assert first['work_dir'] == str(tmp_path / 'run') and second == {}
    assert [args[1] for args, _ in mlflow.called('log_metrics')] == [2, 4, 5, 7, 9, 10, 12, 12, 14, 15]
    names = {name for (values, _), _ in mlflow.called('log_metrics') for name in values}
    assert 'val/AP50_at_100' in names and not any('@' in name for name in names)


def test_a_run_that_mlflow_has_lost_ends_in_a_message(ann_file, tmp_path, package):
    def refuse(run_id):
        raise ValueError('no such run')
    run = SimpleNamespace(info=SimpleNamespace(run_id='abc'))
    package('mlflow', active_run=lambda: run, get_tracking_uri=lambda: 'sqlite:///x.db', start_run=refuse,
            get_experiment_by_name=lambda name: None, MlflowException=ValueError)
    with pytest.raises(TrackerError, match=r'abc cannot be continued in MLflow \(no such run\).*trackers.json'):
        interrupt_and_resume(ann_file, tmp_path / 'run', 'epoch_2.pth', dict(step=14), 'MLflowVisBackend')


def test_clearml_goes_on_in_the_same_task_without_an_offset(ann_file, tmp_path, package):
    logger = Recorder()
    task = Recorder(id='abc', get_logger=lambda: logger)
    calls = []
    package('clearml', Task=SimpleNamespace(current_task=lambda: task,
                                            init=lambda **kwargs: calls.append(kwargs) or task))
    names = dict(project_name='cells', task_name='r50')
    interrupt_and_resume(ann_file, tmp_path / 'run', 'epoch_2.pth', dict(step=14),
                         dict(type='ClearMLVisBackend', init_kwargs=names))
    assert calls == [dict(reuse_last_task_id=False, **names),
                     dict(reuse_last_task_id='abc', continue_last_task=0, **names)]
    reported = [kwargs for _, kwargs in logger.called('report_scalar') if kwargs['title'] == 'train/loss']
    assert [kwargs['iteration'] for kwargs in reported] == [2, 4, 7, 9, 12, 12, 14]
    assert all(math.isfinite(kwargs['value']) for kwargs in reported)


def test_a_test_starts_no_tracker(ann_file, tmp_path, package):
    wandb = package('wandb', run=Recorder(id='abc'), config=Recorder())
    settings = settings_of(ann_file, 'WandbVisBackend')
    runner = train(ann_file, tmp_path / 'run', **settings)
    n_calls = len(wandb.calls)
    from mmengine.runner import Runner
    from support.toy_runner import toy_config
    cfg = toy_config(ann_file, tmp_path / 'test', **settings)
    cfg.test_dataloader, cfg.test_cfg, cfg.test_evaluator = cfg.val_dataloader, dict(type='TestLoop'), cfg.val_evaluator
    Runner.from_cfg(cfg).test()
    assert len(wandb.calls) == n_calls and runner.visualizer.get_backend('WandbVisBackend') is not None
