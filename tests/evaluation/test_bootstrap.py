import math

import numpy as np
import pytest

from mmcell.evaluation.bootstrap import percentile_interval, resample_weights


def test_as_many_images_are_drawn_as_there_are():
    weights = resample_weights(7, 500, seed=0)
    assert weights.shape == (500, 7) and weights.dtype == np.int64
    assert (weights.sum(axis=1) == 7).all() and weights.min() == 0
    # The probability that an image is left out of a resample is (6/7)^7 = .34.
    np.testing.assert_allclose((weights == 0).mean(axis=0), (6 / 7) ** 7, atol=.08)
    np.testing.assert_array_equal(weights, resample_weights(7, 500, seed=0))
    assert (weights != resample_weights(7, 500, seed=1)).any()
    assert resample_weights(1, 3, seed=0).tolist() == [[1]] * 3
    with pytest.raises(ValueError, match='at least one image is needed to draw from, got 0'):
        resample_weights(0, 3, seed=0)


def test_the_spread_of_a_mean_is_that_of_the_textbook(rng):
    values = rng.normal(size=50)
    means = resample_weights(50, 4000, seed=0) @ values / 50
    assert means.std() == pytest.approx(values.std() / math.sqrt(50), rel=.05)
    low, high = percentile_interval(means)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(50), rel=.05)


def test_interval_of_known_values():
    values = np.arange(101.)
    assert percentile_interval(values) == pytest.approx((2.5, 97.5))
    assert percentile_interval(values, level=.8) == pytest.approx((10, 90))
    assert percentile_interval(np.append(values, np.nan)) == pytest.approx((2.5, 97.5))
    assert all(map(math.isnan, percentile_interval(np.full(3, np.nan))))
