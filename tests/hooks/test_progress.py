"""The screen of real trainings with a toy model, and the progress of validations."""

import io
import re
from types import SimpleNamespace

import pytest
from _launch import stop_workers
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from rich.console import Console
from support.commands import read_log
from support.toy_runner import toy_config

from mmcell.framework.console import ConsoleRunner
from mmcell.hooks import NonFiniteLossError, ProgressHook, progress
from mmcell.hooks.progress import LINE_WIDTH, ImageProgress, join_fitting, scores_text

SHOW_CURSOR, HIDE_CURSOR = '\x1b[?25h', '\x1b[?25l'


@METRICS.register_module()
class GivenScores(BaseMetric):
    """The score of each validation is the next of a list."""

    default_prefix = ''

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {'score': next(self.scores)}


def validated_config(annotation_file, work_dir, scores, **overrides):
    """The toy's two epochs of five steps, each followed by a validation of two images."""
    cfg = toy_config(annotation_file, work_dir, log_level='INFO', **overrides)
    pipeline = [dict(type='LoadTiff'), dict(type='PackCellInputs')]
    dataset = dict(type='CellDataset', ann_file=str(annotation_file), test_mode=True, pipeline=pipeline)
    cfg.val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                              dataset=dataset)
    cfg.val_cfg = dict(type='ValLoop')
    cfg.val_evaluator = dict(type='GivenScores', scores=scores)
    cfg.default_hooks.checkpoint.update(save_best='score', rule='greater')
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=2)
    return cfg


def train(cfg):
    runner = ConsoleRunner.from_cfg(cfg)
    runner.train()
    stop_workers(runner)
    return runner


def test_the_screen_of_a_training(annotation_file, tmp_path, capsys):
    train(validated_config(annotation_file, tmp_path / 'run', [.5, .25]))
    shown = capsys.readouterr().out.splitlines()
    steps = [index for index, line in enumerate(shown) if re.match(r'epoch \d/2  step ', line)]
    assert steps[0] <= 15
    labels = [line.split('  ')[0] for line in shown[:steps[0]] if not line.startswith(' ')]
    assert labels == ['training', 'model', 'train data', 'validation', 'length', 'device', 'precision', 'seed',
                      'work folder', 'log file']
    assert re.search(r'length +2 epochs of 5 steps: 10 steps, 2 images per step', '\n'.join(shown))
    # Every second step, and the last of each epoch.
    assert [re.search('step +(.*?)/10  ', shown[index])[1] for index in steps] == ['2', '4', '5', '7', '9', '10']
    assert all(re.search(r'  left \d:\d\d:\d\d  loss \d', shown[index]) for index in steps)
    assert [line for line in shown if line.startswith('validation, ')] == [
        'validation, epoch 1:  score: 0.5000  (best so far)',
        'validation, epoch 2:  score: 0.2500  (best: best_score_epoch_1.pth)']
    assert shown[-1].startswith('10 of 10 steps done in 0:00:') and shown[-1].endswith('best: best_score_epoch_1.pth')
    assert len(shown) == steps[0] + 6 + 2 + 1


def test_the_log_file_keeps_what_the_screen_leaves_out(annotation_file, tmp_path, capsys):
    train(validated_config(annotation_file, tmp_path / 'run', [.5, .25]))
    log = read_log(tmp_path / 'run')
    for text in ('System environment:', 'Config:\n', 'Hooks will be executed', 'Epoch(train) [1][2/5]  lr: ',
                 'Epoch(val) [2][2/2]    score: 0.2500', 'Saving checkpoint at 2 epochs', 'FileClient',
                 'train data   ', 'layers.0.weight'):
        assert text in log, text
    assert 'epoch 1/2  step' not in log


def test_a_resumed_training_begins_with_its_step(annotation_file, tmp_path, capsys):
    train(validated_config(annotation_file, tmp_path / 'run', [.5, .25]))
    capsys.readouterr()
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    train(validated_config(annotation_file, tmp_path / 'run', [.75], resume=True, load_from=str(checkpoint)))
    shown = capsys.readouterr().out
    assert f'resumed from {checkpoint}: continues with epoch 2, step 6\n' in shown
    assert re.search(r'epoch \d.*', shown.partition('log file')[2])[0].startswith('epoch 2/2  step  7/10  left ')
    assert 'validation, epoch 2:  score: 0.7500  (best so far)' in shown


def test_a_training_that_is_resumed_with_fewer_steps_per_epoch_counts_these(annotation_file, tmp_path, capsys):
    train(validated_config(annotation_file, tmp_path / 'run', [.5, .25]))
    capsys.readouterr()
    cfg = validated_config(annotation_file, tmp_path / 'run', [.75], resume=True,
                           load_from=str(tmp_path / 'run' / 'epoch_2.pth'))
    cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size = 3, 10
    train(cfg)
    shown = capsys.readouterr().out
    assert 'Nothing to train' not in shown
    assert re.findall(r'epoch \d/.*?step .*?  left [\d:]+  ', shown) == ['epoch 3/3  step 3/3  left 0:00:00  ']
    assert '3 of 3 steps done' in shown


@pytest.mark.parametrize('nan_at', [0, -1])
def test_an_error_closes_the_display(annotation_file, tmp_path, nan_at, monkeypatch):
    """In the first step, and in a validation, whose second image interrupts it as Ctrl-C does."""
    screen = io.StringIO()
    monkeypatch.setattr(progress, 'Console', lambda **_: Console(file=screen, force_terminal=True, width=100))
    if nan_at == -1:
        monkeypatch.setattr(GivenScores, 'compute_metrics', interrupt)
    cfg = validated_config(annotation_file, tmp_path / 'run', [.5], model__nan_at=nan_at)
    runner = ConsoleRunner.from_cfg(cfg)
    with pytest.raises(NonFiniteLossError if nan_at == 0 else KeyboardInterrupt):
        runner.train()
    stop_workers(runner)
    hook, = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
    assert hook.display is None
    assert ('image 2 of 2, now the scores' in screen.getvalue()) == (nan_at == -1)
    assert screen.getvalue().rfind(HIDE_CURSOR) <= screen.getvalue().rfind(SHOW_CURSOR)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(seconds=0.)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: clock.seconds)
    return clock


@pytest.mark.parametrize('seconds_per_image, n_lines', [(60., 10), (.25, 10), (.125, 5), (.01, 0)])
def test_a_log_file_gets_at_most_ten_lines(clock, seconds_per_image, n_lines):
    console = Console(file=io.StringIO())
    display = ImageProgress('validation', 200, console)
    for _ in range(200):
        clock.seconds += seconds_per_image
        display.add(1)
    display.close()
    lines = console.file.getvalue().splitlines()
    # Lines of short validations are five seconds apart.
    assert len(lines) == n_lines
    if seconds_per_image == 60.:
        assert lines[0] == 'validation: image 20 of 200, 3:00:00 left'
        assert lines[-1] == 'validation: image 200 of 200, now the scores'


def test_a_terminal_gets_a_bar_that_disappears(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    display = ImageProgress('test', 4, console)
    for _ in range(4):
        clock.seconds += 10
        display.add(1)
    shown = console.file.getvalue()
    assert '━' in shown and 'image 1 of 4, 0:00:30 left' in shown and 'image 3 of 4, 0:00:10 left' in shown
    assert 'image 4 of 4, now the scores' in shown
    # Also before it is closed: a process may be killed.
    assert shown.rfind(HIDE_CURSOR) < shown.rfind(SHOW_CURSOR)
    display.close()
    assert console.file.getvalue().endswith('\x1b[1A\x1b[2K') and '\n' not in shown
    display.close()


def test_images_that_two_processes_both_predict_do_not_exceed_the_number(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    display = ImageProgress('test', 5, console)
    for _ in range(3):
        display.add(2)
    assert display.n_done == 5 and '6' not in display.text
    display.close()


def test_lines_end_where_the_next_value_does_not_fit():
    assert join_fitting(['ab', 'cd', 'e'], 9) == 'ab  cd  e'
    assert join_fitting(['ab', 'cd', 'e'], 8) == 'ab  cd'
    assert len(scores_text({f'class {index}': 0. for index in range(99)})) <= LINE_WIDTH


def test_scores_are_written_as_in_the_log():
    assert scores_text({'AP': .12345, 'n': 3, 'curve': [1, 2]}) == 'AP: 0.1235  n: 3'
    assert scores_text({}) == scores_text(None) == 'no scores'
