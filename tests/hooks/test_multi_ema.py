"""The hook that averages weights with several momenta, in real training loops with a toy model."""

import io
import json
import math
import multiprocessing
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import HOOKS, METRICS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from rich.console import Console
from support.toy_runner import ToyModel, train
from torch import nn

from mmcell.checkpoints.fit import FitError
from mmcell.errors import MmcellError
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.hooks import MultiEMAHook, ProgressHook, progress
from mmcell.hooks.stopping import TrainingStoppedError
from mmcell.models.weight_averages import RAW, WeightAverages, momentum_at

SLOW, FAST = 'ema_0.02', 'ema_0.3'
MULTI = dict(type='MultiEMAHook', momenta=[.3, .02], gamma=2)
# The weights that the toy model has, as they are called in a state dict.
WEIGHT, MEAN, COUNT = 'layers.0.weight', 'layers.1.running_mean', 'layers.1.num_batches_tracked'


@METRICS.register_module()
class ScoresInTurn(BaseMetric):
    """Gives the scores of a list, one per pass over the validation images, and counts the images of each pass."""

    value_names = ('AP50',)

    def __init__(self, scores, n_images=2):
        super().__init__(prefix='', collect_device='gpu')
        self.scores = iter(scores)
        self.n_images = n_images

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        assert len(results) == self.n_images
        return {'AP50': next(self.scores), 'note': 'text'}


@HOOKS.register_module()
class WatchingHook(Hook):
    """Keeps the weights of the model after each step, before validations, and at the first image of each pass."""

    priority = 'LOWEST'

    def __init__(self):
        self.trained, self.before_validation, self.validated = [], [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(copied(runner.model.state_dict()))

    def before_val_epoch(self, runner):
        self.before_validation.append(copied(runner.model.state_dict()))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        assert not runner.model.training
        if batch_idx == 0:
            self.validated.append(copied(runner.model.state_dict()))


def copied(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def hooks(multi=MULTI, *others):
    return [dict(type='StepSeedHook'), dict(type='FiniteLossHook'), dict(type='WatchingHook'), multi, *others]


def validated(ann_file, scores, **overrides):
    """Overrides of the toy config for a validation of two images after each of the two epochs of five steps."""
    loader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False),
                  dataset=dict(type='CellDataset', ann_file=str(ann_file), test_mode=True,
                               pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs', meta_keys=())]))
    return dict(val_dataloader=loader, val_cfg=dict(type='ValLoop'), default_hooks__checkpoint__save_best='AP50',
                val_evaluator=dict(type='ScoresInTurn', scores=scores), custom_hooks=hooks(), **overrides)


def hook_of(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def resumable(path):
    checkpoint = load_tensors_only(path)
    return {key: checkpoint[key] for key in ('state_dict', 'weight_averages', 'optimizer', 'param_schedulers')}


def assert_equal(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_equal(*pair)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize('momentum, gamma', [(.002, 100), (.0005, 2000)])
def test_the_momentum_is_that_of_yolox(momentum, gamma):
    # YOLOX: decay * (1 - exp(-updates / 2000)), and 1 - decay is the momentum.
    for step in (2, 100, 4000):
        decay = (1 - momentum) * (1 - math.exp(-step / gamma))
        assert momentum_at(step, momentum, gamma) == pytest.approx(1 - decay, rel=1e-9)
    assert momentum_at(1, momentum, gamma) == 1
    assert momentum_at(round(gamma * math.log(1 / momentum)), momentum, gamma) == pytest.approx(2 * momentum, rel=.01)


def test_each_average_is_that_of_the_formula(ann_file, tmp_path):
    runner = train(ann_file, tmp_path / 'run', **validated(ann_file, [.1, .2, .4, .3]))
    trained = hook_of(runner, WatchingHook).trained
    averages = hook_of(runner, MultiEMAHook).averages
    assert len(trained) == averages.n_steps == 10
    for label, momentum in ((FAST, .3), (SLOW, .02)):
        for name in (WEIGHT, MEAN):
            expected = trained[0][name].double().numpy()
            for step, weights in enumerate(trained[1:], start=2):
                share = (1 - momentum) * math.exp(-step / 2) + momentum
                expected = (1 - share) * expected + share * weights[name].double().numpy()
            np.testing.assert_allclose(averages.weights[label][name].numpy(), expected, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(averages.weights[FAST][WEIGHT], averages.weights[SLOW][WEIGHT], rtol=1e-3)


def test_one_average_is_that_of_the_stock_hook(ann_file, tmp_path):
    stock = dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=.02, gamma=2, update_buffers=True)
    train(ann_file, tmp_path / 'stock', custom_hooks=hooks(stock))
    train(ann_file, tmp_path / 'own', custom_hooks=hooks({**MULTI, 'momenta': [.02]}))
    stock, own = (load_tensors_only(tmp_path / name / 'epoch_2.pth') for name in ('stock', 'own'))
    raw = own['weight_averages']['weights'][RAW]
    for name, tensor in own['state_dict'].items():
        if name == COUNT:
            # The stock hook stops to count after the first step.
            assert tensor == 10
        else:
            assert torch.equal(tensor, stock['state_dict'][name])
            assert torch.equal(raw[name], stock['ema_state_dict'][f'module.{name}'])
    assert 'is not reached' not in log_of(tmp_path / 'own')


def log_of(folder):
    return ''.join(path.read_text() for path in folder.glob('*/*.log'))


def test_a_warm_up_that_outlasts_the_training_is_said(ann_file, tmp_path):
    train(ann_file, tmp_path / 'run', custom_hooks=hooks(dict(type='MultiEMAHook', momenta=[.02], gamma=4)))
    assert ('the momentum 0.02 is not reached: after the 10 steps of this training it is still 0.1 (gamma=4)'
            in log_of(tmp_path / 'run'))


def test_the_training_is_that_without_the_hook(ann_file, tmp_path):
    with_hook = train(ann_file, tmp_path / 'with', **validated(ann_file, [.1] * 6))
    without = train(ann_file, tmp_path / 'without', custom_hooks=hooks()[:-1])
    assert_equal(*(hook_of(runner, WatchingHook).trained for runner in (with_hook, without)))
    assert_equal(dict(with_hook.model.state_dict()), dict(without.model.state_dict()))
    resumed = train(ann_file, tmp_path / 'later', resume=True, load_from=str(tmp_path / 'without' / 'epoch_1.pth'),
                    **validated(ann_file, [.1, .2]))
    assert hook_of(resumed, MultiEMAHook).averages.n_steps == 5
    assert 'the checkpoint has no averages of weights: they begin with this step' in log_of(tmp_path / 'later')


def test_the_best_average_counts(ann_file, tmp_path):
    # Three passes per validation: the averages in the order of the config, then the weights that are trained.
    runner = train(ann_file, tmp_path / 'run', **{
        **validated(ann_file, [.1, .3, .2, .25, .2, math.nan]),
        'custom_hooks': hooks({**MULTI, 'validate_raw': True}, dict(type='CellEarlyStoppingHook', monitor='AP50')),
        'default_hooks__logger': dict(type='LoggerHook', interval=1), 'log_level': 'INFO',
        'visualizer': dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])})
    hub, watching = runner.message_hub, hook_of(runner, WatchingHook)
    values = {name: buffer.data[0].tolist() for name, buffer in hub.log_scalars.items() if name.startswith('val/')}
    assert values['val/AP50'] == [.3, .25]
    assert values[f'val/{FAST}/AP50'] == [.1, .25] and values[f'val/{SLOW}/AP50'] == [.3, .2]
    np.testing.assert_equal(values['val/raw/AP50'], [.2, math.nan])
    assert hub.get_info('best_score') == .3 and hub.get_info('early_stopping')['best_score'] == .3
    # The second validation is worse: the best checkpoint stays, and the last one gets the best weights of its own.
    best, last = (load_tensors_only(tmp_path / 'run' / name) for name in ('best_AP50_epoch_1.pth', 'epoch_2.pth'))
    first_pass, second_pass, raw_pass, *_ = watching.validated
    # SyncBuffersHook changes the statistics of the weights that are trained before a validation.
    assert_equal(watching.before_validation, watching.trained[4::5])
    assert_equal(dict(best['state_dict']), second_pass)
    # No weight is saved twice, and no average that only a resumed training needs.
    assert 'weight_averages' not in best and last['weight_averages']['steps'] == 10
    assert last['weight_averages']['weights'].keys() == {RAW, SLOW}
    assert all(COUNT not in weights and WEIGHT in weights for weights in last['weight_averages']['weights'].values())
    assert_equal(raw_pass, watching.trained[4])
    assert_equal(dict(last['state_dict']), watching.validated[3])
    assert first_pass[WEIGHT].ne(second_pass[WEIGHT]).any()
    assert [json.loads((tmp_path / 'run' / f'{name}.json').read_text())['weights']
            for name in ('best_AP50_epoch_1', 'epoch_1', 'epoch_2')] == [SLOW, SLOW, FAST]
    assert f'AP50 of the averaged weights: {FAST} 0.2500 (best), {SLOW} 0.2000' in log_of(tmp_path / 'run')
    scalars, = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    assert f'"{SLOW}/AP50": 0.3' in scalars.read_text()


def test_the_rule_of_the_checkpoint_hook_decides(ann_file, tmp_path):
    runner = train(ann_file, tmp_path / 'run', **validated(ann_file, [.4, .3, .3, .3]),
                   default_hooks__checkpoint__rule='less')
    assert hook_of(runner, MultiEMAHook).chosen == FAST
    assert runner.message_hub.log_scalars['val/AP50'].data[0].tolist() == [.3, .3]
    assert json.loads((tmp_path / 'run' / 'best_AP50_epoch_1.json').read_text())['weights'] == SLOW


BY_ITERATION = dict(
    train_dataloader__sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=9, val_interval=4),
    default_hooks__checkpoint=dict(type='CellCheckpointHook', by_epoch=False, interval=2, save_best='AP50'))


# The resumed run has the scores of its own validations. The checkpoint iter_8.pth is saved before a validation that is
# worse than the best, and chooses another average.
@pytest.mark.parametrize('overrides, halfway, last, scores, n_done', [
    ({}, 'epoch_2.pth', 'epoch_3.pth', [.1, .2, .4, .3, .2, .3], 4),
    (BY_ITERATION, 'iter_8.pth', 'iter_9.pth', [.2, .4, .3, .1, .2, .1], 4),
], ids=['epochs', 'iterations'])
def test_resuming_is_exact(ann_file, tmp_path, overrides, halfway, last, scores, n_done):
    settings = {'train_cfg__max_epochs': 3, **validated(ann_file, scores), **overrides}
    if overrides:
        settings.pop('train_cfg__max_epochs'), settings.pop('default_hooks__checkpoint__save_best')
    train(ann_file, tmp_path / 'at_once', **settings)
    settings['val_evaluator'] = dict(type='ScoresInTurn', scores=scores[n_done:])
    train(ann_file, tmp_path / 'in_two', resume=True, load_from=str(tmp_path / 'at_once' / halfway), **settings)
    at_once, in_two = (resumable(tmp_path / name / last) for name in ('at_once', 'in_two'))
    assert_equal(at_once, in_two)
    assert at_once['weight_averages']['in_state_dict'] == (SLOW if not overrides else FAST)


def test_a_training_stopped_inside_an_epoch_continues_exactly(ann_file, tmp_path):
    scores, stop = [.1, .2, .4, .3], dict(default_hooks__stop=dict(type='StopHook'))
    train(ann_file, tmp_path / 'at_once', **validated(ann_file, scores), **stop)
    settings = validated(ann_file, scores)
    settings['custom_hooks'] = hooks(MULTI, dict(type='AskToStopHook', step=8))
    with pytest.raises(TrainingStoppedError):
        train(ann_file, tmp_path / 'stopped', **settings, **stop)
    assert resumable(tmp_path / 'stopped' / 'iter_8.pth')['weight_averages']['in_state_dict'] == SLOW
    train(ann_file, tmp_path / 'stopped', resume=True, load_from=str(tmp_path / 'stopped' / 'iter_8.pth'),
          **validated(ann_file, scores[2:]), **stop)
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        assert_equal(*(resumable(tmp_path / folder / name) for folder in ('at_once', 'stopped')))


def test_other_averages_are_not_resumed(ann_file, tmp_path):
    settings = validated(ann_file, [.1, .2, .4, .3])
    train(ann_file, tmp_path / 'run', **settings)
    checkpoint = str(tmp_path / 'run' / 'epoch_1.pth')
    for multi, message in (({**MULTI, 'momenta': [.3, .01]}, 'those of ema_0.02, ema_0.3 in .* of ema_0.01, ema_0.3'),
                           (dict(type='StepSeedHook'), 'can only go on with MultiEMAHook')):
        settings['custom_hooks'] = hooks(multi)
        with pytest.raises(FitError, match=message):
            train(ann_file, tmp_path / 'again', resume=True, load_from=checkpoint, **settings)
    with pytest.raises(FitError, match='averaged its weights with EMAHook: go on with EMAHook'):
        MultiEMAHook([.3]).after_load_checkpoint(SimpleNamespace(_resume=True), dict(ema_state_dict={}))


@HOOKS.register_module()
class AskToStopHook(Hook):
    """Asks ``StopHook`` to stop before a step, as a signal does."""

    def __init__(self, step):
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.step:
            next(hook for hook in runner.hooks if type(hook).__name__ == 'StopHook').is_asked = True


@pytest.mark.parametrize('overrides, message', [
    (dict(val_dataloader=None, val_cfg=None, val_evaluator=None), 'the config has none: .* or give one momentum'),
    (dict(default_hooks__checkpoint__save_best='auto'), r'set default_hooks\.checkpoint\.save_best'),
    (dict(custom_hooks=hooks(MULTI, dict(type='EMAHook'))), 'remove EMAHook'),
])
def test_averages_that_cannot_be_chosen_are_refused(ann_file, tmp_path, overrides, message):
    with pytest.raises(FitError, match=message):
        train(ann_file, tmp_path / 'run', **{**validated(ann_file, []), **overrides})


@pytest.mark.parametrize('settings', [
    dict(momenta=[]), dict(momenta=[.1, .1]), dict(momenta=[0.]), dict(momenta=[1.]), dict(momenta=[.1], gamma=0),
    dict(momenta=None), dict(momenta=['2e-3']), dict(momenta=[.1], gamma='100')])
def test_wrong_momenta_are_refused(settings):
    with pytest.raises(MmcellError, match='MultiEMAHook must be'):
        MultiEMAHook(**settings)


def test_mixed_precision_averages_the_weights_in_float32(ann_file, tmp_path):
    settings = validated(ann_file, [.1, .2, .4, .3])
    runner = train(ann_file, tmp_path / 'run', **settings, optim_wrapper__type='MixedPrecisionOptimWrapper',
                   optim_wrapper__dtype='bfloat16')
    averages = hook_of(runner, MultiEMAHook).averages
    assert {tensor.dtype for tensor in averages.weights[SLOW].values()} == {torch.float32}
    assert averages.weights[SLOW][WEIGHT].ne(averages.weights[SLOW][WEIGHT].bfloat16()).any()


def test_each_pass_has_its_progress(ann_file, tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress, 'Console', lambda **_: Console(file=screen, force_terminal=True, width=100))
    settings = validated(ann_file, [.1, .2, .4, .3])
    settings['custom_hooks'] = hooks(MULTI, dict(type='ProgressHook'))
    runner = train(ann_file, tmp_path / 'run', **settings)
    assert screen.getvalue().count('image 2 of 2, now the scores') >= 4
    assert re.search(r'validation of ema_0\.02 .*image 2 of 2', screen.getvalue())
    assert hook_of(runner, ProgressHook).display is None


class ShapedModel(nn.Module):
    """Has a convolution in the memory format channels-last, a frozen layer, and a layer that it has twice."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
        self.frozen, self.layer = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)
        self.again = self.layer


def changed(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.fill_(value)


def averages_of(model, momenta=(.5, .25)):
    # A very short warm-up: after step 2, momenta are as given.
    return WeightAverages(model, {f'ema_{momentum:g}': momentum for momentum in momenta}, gamma=1e-3)


def test_frozen_weights_have_no_copy_until_they_are_trained():
    model = ShapedModel()
    averages = averages_of(model)
    assert not any(name.startswith('frozen') for name in averages.sources)
    assert averages.weights['ema_0.5']['convolution.weight'].is_contiguous(memory_format=torch.channels_last)
    changed(model, 1.)
    averages.update()
    model.frozen.requires_grad_(True)
    model.frozen.weight.data.fill_(1.)
    averages.add_unfrozen()
    changed(model, 2.)
    averages.update()
    for label, expected in (('ema_0.5', 1.5), ('ema_0.25', 1.25)):
        assert {tensor.unique().item() for name, tensor in averages.weights[label].items() if name != 'frozen.bias'
                } == {expected}


def test_shared_weights_are_averaged_and_restored_once():
    model = ShapedModel()
    averages = averages_of(model)
    changed(model, 1.)
    averages.update()
    changed(model, 2.)
    averages.update()
    before = copied(model.state_dict())
    averages.exchange('ema_0.5')
    assert model.layer.weight.unique().item() == 1.5
    averages.exchange('ema_0.5')
    assert_equal(copied(model.state_dict()), before)
    state = dict(model.state_dict())
    others = averages.replace_in(state, 'ema_0.25')
    assert state['layer.weight'].unique().item() == state['again.weight'].unique().item() == 1.25
    resumed = averages_of(ShapedModel())
    resumed.model.load_state_dict({**state, **others.pop(RAW)})
    resumed.resume(2, {**others, 'ema_0.25': {name: state[name] for name in averages.sources}})
    assert_equal(resumed.weights, averages.weights)
    assert resumed.model.layer.weight.unique().item() == 2.


def _average_statistics(folder, rank, results):
    torch.distributed.init_process_group('gloo', f'file://{folder}/meeting', rank=rank, world_size=2)
    torch.manual_seed(0)
    averages = WeightAverages(ToyModel(), {'ema_0.5': .5}, 1.)
    averages.weights['ema_0.5'][MEAN].fill_(rank)
    weight = averages.weights['ema_0.5'][WEIGHT].clone()
    averages.average_processes()
    results.put((averages.weights['ema_0.5'][MEAN].unique().item(),
                 torch.equal(weight, averages.weights['ema_0.5'][WEIGHT])))


def test_processes_share_the_statistics_of_batch_norm(tmp_path):
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=_average_statistics, args=(tmp_path, rank, results)) for rank in (0, 1)]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == [(.5, True)] * 2
    for process in processes:
        process.join()


def _train_with_and_without(ann_file, folder, rank, results):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    torch.distributed.init_process_group('gloo', f'file://{folder}/meeting', rank=rank, world_size=2)
    settings = {**validated(ann_file, [.3, .1, .4, .2, .2, .1]), **BY_ITERATION, 'launcher': 'pytorch',
                'model_wrapper_cfg': dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False),
                'default_hooks__sync_buffers': dict(type='SyncBuffersHook')}
    del settings['default_hooks__checkpoint__save_best']
    runner = train(ann_file, folder / 'with', **settings)
    hook = hook_of(runner, MultiEMAHook)
    averages = hook.averages.weights
    if rank == 0:
        saved = torch.load(folder / 'with' / f'iter_{runner.iter}.pth', weights_only=True)['state_dict']
        assert saved[MEAN].equal(averages[hook.chosen][MEAN])
    settings.update(custom_hooks=hooks()[:-1], val_evaluator=dict(type='ScoresInTurn', scores=[.1] * 3))
    without = train(ann_file, folder / 'without', **settings)
    assert_equal(*(copied(trained.model.module.state_dict()) for trained in (runner, without)))
    # Tensors cannot be sent by a process that ends at once.
    results.put({label: {name: tensor.tolist() for name, tensor in weights.items()}
                 for label, weights in averages.items()})


@pytest.mark.slow
def test_two_processes_have_the_same_averages_and_train_as_without_the_hook(ann_file, tmp_path):
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=_train_with_and_without, args=(ann_file, tmp_path, rank, results))
                 for rank in (0, 1)]
    for process in processes:
        process.start()
    first, second = (results.get(timeout=300) for _ in processes)
    assert first == second
    for process in processes:
        process.join()
