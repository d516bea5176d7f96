import json
import math

import pytest

from mmcell.visualization.training_curves import (
    CurveError,
    Training,
    describe_curve,
    read_trainings,
    refuse_unknown,
    summarise,
)

NAN = float('nan')


def write_run(work_dir, name, records, resume=None):
    """Writes the files of a run; ``resume`` is the setting in the config that is stored with them, None for no file."""
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records))
    if resume is not None:
        (folder / 'config.py').write_text(f'load_from = None\nresume = {resume}\n')


def step(number, loss, epoch=None, **values):
    return dict(lr=1., loss=loss, iter=number, step=number, **values,
                **({} if epoch is None else dict(epoch=epoch)))


def validation(number, **values):
    return dict(**values, data_time=.1, time=.2, step=number)


def read_one(work_dir):
    training, = read_trainings(work_dir)
    return training


def test_validations_of_epochs_are_placed_at_the_last_step_of_the_epoch(tmp_path):
    write_run(tmp_path, '20260101_000000', [
        step(10, 3., 1), step(20, 2., 1), validation(1, AP=.1, AP50=.2), step(30, 1., 2), validation(2, AP50=.4)])
    training = read_one(tmp_path)
    assert training.losses == {'loss': {10: 3., 20: 2., 30: 1.}, 'lr': {10: 1., 20: 1., 30: 1.}}
    assert training.scores == {'AP': {20: .1}, 'AP50': {20: .2, 30: .4}}
    assert training.epoch_ends == {1: 20, 2: 30} and training.name == str(tmp_path)
    assert training.runs == [tmp_path / '20260101_000000']


def test_validations_of_iteration_based_trainings_keep_their_step(tmp_path):
    write_run(tmp_path, '20260101_000000', [step(50, 3., loss_mask=1.), step(100, 2.), validation(100, AP50=.5)])
    training = read_one(tmp_path)
    assert training.scores == {'AP50': {100: .5}} and training.losses['loss_mask'] == {50: 1.}
    assert training.epoch_ends == {}


@pytest.mark.parametrize('resume', [True, None])
def test_a_resumed_run_continues_and_replaces_the_steps_that_it_repeats(tmp_path, resume):
    write_run(tmp_path, '20260101_000000', [
        step(10, 3., 1), validation(1, AP50=.2), step(20, 9., 2), validation(2, AP50=.9), step(30, 9., 3)],
        None if resume is None else False)
    write_run(tmp_path, '20260101_000001', [step(20, 2., 2), validation(2, AP50=.3)], resume)
    # This run only tested a checkpoint.
    write_run(tmp_path, '20260101_000002', [validation(0, AP50=.3)], False)
    training = read_one(tmp_path)
    assert training.losses['loss'] == {10: 3., 20: 2.} and training.scores == {'AP50': {10: .2, 20: .3}}


def test_runs_that_do_not_continue_each_other_are_trainings_of_their_own(tmp_path):
    write_run(tmp_path, '20260101_000000', [step(10, 3., 1), step(20, 2., 2)], False)
    write_run(tmp_path, '20260102_000000', [step(10, 5., 1), step(20, 4., 2)], False)
    write_run(tmp_path, '20260103_000000', [step(20, 3., 2), step(30, 2., 3)], True)
    first, second = read_trainings(tmp_path)
    assert first.losses['loss'] == {10: 3., 20: 2.} and second.losses['loss'] == {10: 5., 20: 3., 30: 2.}
    assert [first.name, second.name] == [f'{tmp_path} (20260101_000000)', f'{tmp_path} (20260102_000000)']
    # One run can be drawn by itself.
    assert read_one(tmp_path / '20260103_000000').losses['loss'] == {20: 3., 30: 2.}


@pytest.mark.parametrize('text', ['', '{"loss": 1', '[]', '{"AP50": .1, "step": 0}\n', '\0\0\0'])
def test_files_without_a_loss_are_no_trainings(tmp_path, text):
    write_run(tmp_path, '20260101_000000', [])
    (tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json').write_text(text)
    with pytest.raises(CurveError, match=r'no training has logged a loss .*files found: 1'):
        read_trainings(tmp_path)


@pytest.mark.parametrize('rest', [b'{"loss": 2.0, "it', b'\0\0\0\0{', b'\xff\xfe', b'7\n', b'{"loss": 1.0}',
                                  b'[' * 99999])
def test_a_line_that_was_cut_is_left_out_and_said(tmp_path, rest):
    write_run(tmp_path, '20260101_000000', [step(10, 3.), step(20, 2.)])
    path = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_bytes(path.read_bytes() + rest)
    training = read_one(tmp_path)
    assert training.losses['loss'] == {10: 3., 20: 2.}
    remark, = training.remarks
    assert str(path) in remark and 'first line 3' in remark


@pytest.mark.parametrize('ends, steps, epochs', [
    ({1: 80, 2: 160}, [40, 80, 160], [.5, 1, 2]),
    # The third epoch has begun only. It is taken to be as long as the second.
    ({1: 80, 2: 160, 3: 180}, [80, 160, 180], [1, 2, 2.25]),
    # The batch size was changed after the second epoch.
    ({1: 80, 2: 160, 3: 200, 4: 240}, [160, 180, 240], [2, 2.5, 4]),
    # Only the continuation of a training is there, whose epochs have 80 steps.
    ({5: 400, 6: 480}, [360, 400, 440], [4.5, 5, 5.5]),
])
def test_steps_as_epochs(ends, steps, epochs):
    assert Training('x', epoch_ends=ends).epochs_at(steps).tolist() == pytest.approx(epochs)


def test_unknown_names_are_refused_with_the_nearest_and_the_known_ones():
    trainings = [Training('a', {'loss': {1: 1.}}, {'AP': {1: .1}, 'AP50': {1: .1}}),
                 Training('b', {'loss': {1: 1.}, 'loss_mask': {1: 1.}})]
    refuse_unknown(trainings, 'losses', ['loss', 'loss_mask'], '--loss')
    with pytest.raises(CurveError, match=r'--score Ap50: .*did you mean AP50.*there are AP, AP50$'):
        refuse_unknown(trainings, 'scores', ['AP', 'Ap50'], '--score')
    with pytest.raises(CurveError, match='--score AP: .*nothing was validated'):
        refuse_unknown(trainings[1:], 'scores', ['AP'], '--score')


def test_the_best_and_the_last_values():
    curve = {30: .2, 10: .5, 20: .2, 40: NAN}
    assert summarise('losses', 'loss', curve).best_step == 20
    assert summarise('scores', 'AP', curve).best_step == 10
    assert summarise('scores', 'error', curve, {'error'}).best_step == 20
    assert summarise('scores', 'val_loss', curve).best_step == 20
    assert summarise('losses', 'lr', curve).best_step is None
    assert summarise('losses', 'loss', {1: NAN, 2: math.inf}).best_step is None
    training = Training('x', {'loss': curve}, {}, {1: 20, 2: 40}, {1, 2})
    assert describe_curve(training, 'losses', 'loss') == (
        'loss: lowest 0.2 at step 20 (epoch 1); last nan at step 40 (epoch 2); NaN or infinite 1 times, first at '
        'step 40')
    assert describe_curve(training, 'scores', 'AP') == 'AP: not logged'
