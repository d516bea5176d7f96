import numpy as np
import pytest

from mmcell.visualization.seed_bands import band_of
from mmcell.visualization.training_curves import Training

NAN = float('nan')


def losses(*curves):
    return [Training('x', {'loss': curve}) for curve in curves]


def test_mean_lowest_and_highest_value_of_every_step():
    band = band_of(losses({10: 1., 20: 4.}, {10: 3., 20: 2.}, {10: 2., 20: 0.}), 'losses', 'loss')
    assert band.steps.tolist() == [10, 20] and band.mean.tolist() == [2, 2]
    assert band.lowest.tolist() == [1, 0] and band.highest.tolist() == [3, 4] and band.end == 20
    assert np.isnan(band.epochs).all()


def test_the_band_ends_with_the_shortest_training():
    band = band_of(losses({10: 1., 20: 2., 30: 9.}, {10: 1., 20: 4.}), 'losses', 'loss')
    assert band.steps.tolist() == [10, 20] and band.mean.tolist() == [1, 3] and band.end == 30


def test_steps_that_differ_are_interpolated_where_all_trainings_have_values():
    band = band_of(losses({10: 0., 20: 10., 30: 20.}, {14: 4., 24: 24.}), 'losses', 'loss')
    assert band.steps.tolist() == [20]
    # At step 20, the second training is at 4 + (24 - 4) * 6 / 10.
    assert (band.lowest.tolist(), band.highest.tolist()) == ([10], [16])


@pytest.mark.parametrize('bad', [NAN, float('inf')])
def test_a_value_that_is_no_number_makes_a_gap(bad):
    band = band_of(losses({10: 1., 20: bad}, {10: 1., 20: 2.}), 'losses', 'loss')
    for values in (band.mean, band.lowest, band.highest):
        assert values[0] == 1 and np.isnan(values[1])


def test_validations_are_matched_by_their_epoch():
    # Folds with 10 and with 12 steps per epoch; the second one has not validated its third epoch yet.
    folds = [Training('a', {'loss': {10: 1.}}, {'AP': {10: .1, 20: .2, 30: .3}}, {1: 10, 2: 20, 3: 30}, {1, 2, 3}),
             Training('b', {'loss': {12: 1.}}, {'AP': {12: .3, 24: .6}}, {1: 12, 2: 24, 3: 30}, {1, 2})]
    band = band_of(folds, 'scores', 'AP')
    assert band.steps.tolist() == [11, 22] and band.epochs.tolist() == [1, 2]
    assert band.mean.tolist() == pytest.approx([.2, .4]) and band.end == 30


def test_without_a_common_point_there_is_no_band():
    assert band_of(losses({10: 1.}, {}), 'losses', 'loss') is None
    assert band_of(losses({10: 1.}, {20: 1.}), 'losses', 'loss') is None
    assert band_of([*losses({10: 1.}), Training('x')], 'losses', 'loss') is None
