import math
import re

import numpy as np
import pytest

from mmcell.visualization.curve_picture import draw_curves, write_figure
from mmcell.visualization.seed_bands import Experiment
from mmcell.visualization.training_curves import Training

NAN = float('nan')


def draw(trainings, *args, **kwargs):
    """Draws each training as a line of its own."""
    return draw_curves([Experiment(training.name, [training]) for training in trainings], *args, **kwargs)


def lines_of(axes):
    """The lines of a panel: their places and values."""
    return [[line.get_xdata().tolist(), line.get_ydata().tolist()] for line in axes.lines
            if len(line.get_xdata()) > 1 and line.get_linestyle() != 'None']


def test_the_picture_has_a_panel_per_value_and_a_line_per_training():
    trainings = [Training('a', {'loss': {10: 3., 20: 2.}, 'loss_mask': {10: 1., 20: .5}}, {'AP': {20: .3}},
                          {1: 10, 2: 20}, {2}), Training('b', {'loss': {10: 4., 20: 5.}}, {}, {1: 10, 2: 20})]
    figure = draw(trainings, ['loss', 'loss_mask'], ['AP'])
    loss, mask, score = figure.axes
    assert lines_of(loss) == [[[10, 20], [3., 2.]], [[10, 20], [4., 5.]]] and lines_of(mask) == [[[10, 20], [1., .5]]]
    assert [axes.get_ylabel() for axes in figure.axes] == ['training loss', 'training loss_mask', 'validation AP']
    assert loss.lines[0].get_color().tolist() != loss.lines[3].get_color().tolist()
    # The only value of AP is a dot, the last value and the best value.
    assert [line.get_marker() for line in score.lines] == ['.', 's', '*']
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        'a', 'b', 'lowest loss', 'best score', 'last value'}
    by_epoch = draw(trainings, ['loss'], [], by_epoch=True)
    assert lines_of(by_epoch.axes[0])[0] == [[1, 2], [3., 2.]] and by_epoch.axes[0].get_xlabel() == 'epoch'


def test_values_that_are_no_numbers_are_marked_and_lonely_values_have_a_dot():
    curve = dict.fromkeys(range(200), 1.) | {50: NAN, 52: math.inf}
    line, _, _, crosses = draw([Training('a', {'loss': curve})], ['loss'], []).axes[0].lines
    assert [number for number, dot in enumerate(line.get_markevery()) if dot] == [51]
    assert crosses.get_marker() == 'x' and crosses.get_xdata().tolist() == [50, 52]
    only_nan = draw([Training('a', {'loss': {1: NAN}})], ['loss'], [])
    assert [line.get_marker() for line in only_nan.axes[0].lines if len(line.get_xdata())] == ['.', 'x']


SEEDS = Experiment('r50: mean of seeds 0, 1', [
    Training('a', {'loss': {10: 4., 20: 2., 30: 1.}}, {'AP': {10: .1, 20: .4, 30: .3}}, {1: 10, 2: 20, 3: 30},
             {1, 2, 3}),
    Training('b', {'loss': {10: 2., 20: 2.}}, {'AP': {10: .3, 20: .2}}, {1: 10, 2: 20}, {1, 2})])


@pytest.mark.parametrize('by_epoch', [False, True])
def test_several_seeds_are_a_mean_in_a_band_with_the_best_of_each(by_epoch):
    figure = draw_curves([SEEDS], ['loss'], ['AP'], by_epoch)
    loss, score = figure.axes
    unit = .1 if by_epoch else 1
    mean, rest = lines_of(loss)
    assert mean == [[10 * unit, 20 * unit], [3., 2.]]
    # Only one of the trainings goes on.
    assert rest == [[20 * unit, 30 * unit], [2., 1.]]
    band, = loss.collections
    corners = set(map(tuple, band.get_paths()[0].vertices.tolist()))
    assert corners == {(10 * unit, 2.), (10 * unit, 4.), (20 * unit, 2.)}
    best = score.lines[-1]
    assert best.get_marker() == '*'
    assert np.allclose(best.get_xydata(), [[20 * unit, .4], [10 * unit, .3]])
    assert [text.get_text() for text in score.texts] == ['0.350 (0.300–0.400)']
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        SEEDS.label, 'band and brackets: lowest to highest', 'lowest loss of each training',
        'best score of each training', 'last value'}


@pytest.mark.parametrize('lowest, is_below', [(2., True), (.1, False)])
def test_the_number_of_a_lowest_loss_is_below_the_curve_if_there_is_room(lowest, is_below):
    text, = draw([Training('a', {'loss': {10: 4., 20: lowest}})], ['loss'], []).axes[0].texts
    assert (text.get_position()[1] < 0) == is_below


def test_seeds_without_a_common_value_are_lines():
    figure = draw_curves([Experiment('x', [Training('a', {'loss': {10: 1.}, 'acc': {10: 5., 20: 6.}}),
                                           Training('b', {'loss': {10: 2.}})])], ['acc'], [])
    assert lines_of(figure.axes[0]) == [[[10, 20], [5., 6.]]] and not figure.axes[0].collections


def test_the_best_value_is_the_one_whose_checkpoint_is_kept():
    training = Training('a', {'loss': {10: 1.}}, {'error': {10: .3, 20: NAN, 30: .1, 40: .1}},
                        {1: 10, 2: 20, 3: 30, 4: 40}, {1, 2, 3, 4}, lowest_is_best={'error'})
    score = draw([training], [], ['error']).axes[0]
    assert [text.get_text() for text in score.texts] == ['0.1 (epoch 3)']
    training.lowest_is_best.clear()
    assert [text.get_text() for text in draw([training], [], ['error']).axes[0].texts] == ['0.3 (epoch 1)']
    training.epoch_ends.clear()
    assert [text.get_text() for text in draw([training], [], ['error']).axes[0].texts] == ['0.3 (step 10)']


@pytest.mark.parametrize('file_format', ['png', 'svg', 'pdf'])
def test_the_same_curves_give_the_same_file(tmp_path, file_format):
    for name in 'ab':
        write_figure(draw_curves([SEEDS], ['loss'], ['AP']), tmp_path / name, file_format)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_text_stays_text_and_fonts_are_embedded(tmp_path):
    figure = draw_curves([SEEDS], ['loss'], ['AP'])
    write_figure(figure, tmp_path / 'a.svg', 'svg')
    svg = (tmp_path / 'a.svg').read_text()
    assert 'r50: mean of seeds 0, 1</text>' in svg and '<dc:date>' not in svg
    write_figure(figure, tmp_path / 'a.pdf', 'pdf')
    pdf = (tmp_path / 'a.pdf').read_bytes()
    assert b'/FontFile2' in pdf and b'/Type3' not in pdf and not re.search(rb'/(Creation|Mod)Date', pdf)


@pytest.mark.parametrize('length', [4, 40, 45, 46, 80])
def test_long_names_stay_inside_the_picture(length):
    trainings = [Training(f'{number}' * length, {'loss': {10: 3., 20: 2.}}, {}) for number in range(6)]
    figure = draw(trainings, ['loss'], [])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
