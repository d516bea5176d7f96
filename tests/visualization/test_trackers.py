import importlib.util

import pytest
from mmengine.visualization import LocalVisBackend

import mmcell  # noqa: F401
from mmcell.visualization import trackers
from mmcell.visualization.trackers import TrackerError, name_values, refuse_unusable_trackers, to_settings
from mmcell.visualization.visualizer import CellVisualizer

LOCAL, BOARD = dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')


@pytest.mark.parametrize('given, settings', [
    (['TensorboardVisBackend'], [LOCAL, BOARD]), ([BOARD, 'LocalVisBackend'], [BOARD, LOCAL]), ([LOCAL], [LOCAL]),
    ([], [LOCAL])])
def test_names_stand_for_settings_and_the_local_log_is_always_there(given, settings):
    assert to_settings(given) == settings


def config(*backends, **others):
    return dict(visualizer=dict(type='CellVisualizer', vis_backends=list(backends)), **others)


@pytest.mark.parametrize('usable', [
    config(LOCAL), config('TensorboardVisBackend'), config(LOCAL, BOARD, vis_backends=[LOCAL, BOARD]), {},
    config(BOARD, vis_backends=[LOCAL]),
    dict(visualizer=None), dict(visualizer=dict(vis_backends=BOARD)), config(dict(type=LocalVisBackend))])
def test_what_can_be_used(usable):
    refuse_unusable_trackers(usable)


@pytest.mark.parametrize('unusable, message', [
    (config(LOCAL, vis_backends=[LOCAL, BOARD]), r'vis_backends is read by nothing: set visualizer\.vis_backends, .*'
                                                 r'"visualizer\.vis_backends=\[TensorboardVisBackend\]"'),
    (config('TensorBoard'), 'no back end TensorBoard; did you mean TensorboardVisBackend'),
    (config(LOCAL, dict(type='Wandb')), 'no back end Wandb; did you mean WandbVisBackend'),
    (config(LOCAL, dict(type='Xyz')), 'did you mean .*ClearMLVisBackend or .*TensorboardVisBackend'),
])
def test_what_cannot_be_used_is_refused_with_the_line_to_write(unusable, message):
    with pytest.raises(TrackerError, match=message):
        refuse_unusable_trackers(unusable)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(trackers, 'find_spec', lambda name: None if name == 'tensorboard' else importlib.util.find_spec(
        name))
    with pytest.raises(TrackerError, match='TensorboardVisBackend needs the package tensorboard. Install it with "pip '
                                           'install tensorboard", or leave TensorboardVisBackend out'):
        refuse_unusable_trackers(config('TensorboardVisBackend'))
    refuse_unusable_trackers(config(LOCAL))


@pytest.mark.parametrize('logged, named', [
    (dict(loss=1., lr=.1, iter=3, epoch=1, data_time=.2), {'train/loss': 1., 'train/lr': .1, 'train/epoch': 1,
                                                           'train/data_time': .2}),
    ({'AP50@100': .5, 'data_time': .2, 'coco/segm_mAP': .1}, {'val/AP50_at_100': .5, 'val/data_time': .2,
                                                              'val/coco/segm_mAP': .1}),
    ({'class (a)': 1, 'text': 'x', 'step': 3}, {'val/class _a_': 1}), ({}, {})])
def test_names_of_values(logged, named):
    assert name_values(logged) == named


def test_a_visualizer_takes_back_ends_in_every_form(tmp_path):
    for backends in ('TensorboardVisBackend', BOARD, ['TensorboardVisBackend'], [LOCAL, dict(BOARD)]):
        visualizer = CellVisualizer(vis_backends=backends, save_dir=str(tmp_path / 'logs'))
        # The tracker is built when a training begins.
        assert visualizer.get_backend('LocalVisBackend') and visualizer.get_backend('TensorboardVisBackend') is None
        assert not visualizer.are_trackers_started and not list(tmp_path.rglob('events*'))
    assert CellVisualizer().get_backend('LocalVisBackend') is None


def test_without_the_hook_trackers_start_with_the_first_value(tmp_path):
    visualizer = CellVisualizer(vis_backends='TensorboardVisBackend', save_dir=str(tmp_path))
    visualizer.add_scalars(dict(loss=1., iter=4), 4)
    visualizer.add_scalars(dict(AP50=1.), 1)
    visualizer.close()
    events, = tmp_path.glob('vis_data/events*')
    assert b'val/AP50' in events.read_bytes() and b'train/loss' in events.read_bytes()
