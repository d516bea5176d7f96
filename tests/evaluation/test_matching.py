import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from mmcell.evaluation.matching import match_at_iou, match_centroids, match_greedily, match_optimally

TABLES = hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 6)),
                    elements=st.sampled_from([0, 0, 0, .25, .5, .625, .75, 1]))


def pairs_of(table):
    true_index, pred_index = np.nonzero(table)
    return true_index, pred_index, table[true_index, pred_index]


def assert_one_to_one(true_index, pred_index, is_matched):
    for index in (true_index[is_matched], pred_index[is_matched]):
        assert len(set(index.tolist())) == len(index)


@given(TABLES)
def test_solving_group_by_group_is_as_good_as_solving_the_whole_table(table):
    true_index, pred_index, weights = pairs_of(table)
    is_matched = match_optimally(true_index, pred_index, weights)
    assert_one_to_one(true_index, pred_index, is_matched)
    assert weights[is_matched].sum() == table[linear_sum_assignment(table, maximize=True)].sum()


@given(TABLES, st.sampled_from([.5, .625, .75]))
def test_the_number_of_matches_is_largest_and_then_their_iou(table, min_iou):
    true_index, pred_index, ious = pairs_of(table)
    is_matched = match_at_iou(true_index, pred_index, ious, min_iou)
    assert_one_to_one(true_index, pred_index, is_matched)
    assert (ious[is_matched] >= min_iou).all()
    # These are the costs in stardist.matching.
    best = linear_sum_assignment(-(table >= min_iou).astype(float) - table / (2 * min(table.shape)))
    expected = table[best][table[best] >= min_iou]
    assert is_matched.sum() == len(expected) and ious[is_matched].sum() == pytest.approx(expected.sum())


def test_the_number_of_matches_goes_before_their_iou():
    # The two pairs of IoU 1 add up to more than the three pairs of IoU .5.
    true_index, pred_index, ious = pairs_of(np.array([[.5, 1, 0], [0, .5, 1], [0, 0, .5]]))
    assert ious[match_at_iou(true_index, pred_index, ious, .5)].tolist() == [.5, .5, .5]
    assert ious[match_at_iou(true_index, pred_index, ious, .6)].tolist() == [1, 1]


@pytest.mark.parametrize('pred_scores, expected', [
    ([.9, .8], [[1, 0], [0, 0]]),   # the first prediction takes the only cell that the second one overlaps
    ([.8, .9], [[0, 1], [1, 0]]),
    ([.5, .5], [[1, 0], [0, 0]]),   # equal scores: the order of the predictions decides
])
def test_predictions_choose_in_the_order_of_scores(pred_scores, expected):
    table = np.array([[.9, .8], [.7, 0]])
    true_index, pred_index, ious = pairs_of(table)
    is_matched = match_greedily(true_index, pred_index, ious, np.array(pred_scores))
    matched = np.zeros((2, 2), int)
    matched[true_index[is_matched], pred_index[is_matched]] = 1
    assert matched.tolist() == expected


def test_without_pairs_there_is_no_match():
    nothing = np.zeros(0, int)
    assert match_optimally(nothing, nothing, np.zeros(0)).shape == (0,)
    assert match_at_iou(nothing, nothing, np.zeros(0), .5).shape == (0,)
    assert match_greedily(nothing, nothing, np.zeros(0), np.array([.5])).shape == (0,)
    assert match_centroids(np.zeros((0, 2)), np.zeros((3, 2)))[0].shape == (0,)


def test_centroids_match_up_to_the_radius():
    true_xy = np.array([[0., 0], [100, 0], [200, 0]])
    pred_xy = np.array([[100, 12.], [200, 12.01], [0, 1]])
    true_index, pred_index = match_centroids(true_xy, pred_xy)
    assert list(zip(true_index, pred_index, strict=True)) == [(0, 2), (1, 0)]


def test_the_least_sum_of_distances_decides_before_the_radius():
    # Two pairs of 10 px add up to 20 px. Pairing the nearest centroids (3.2 px) leaves a pair of 21.2 px: 24.4 px.
    true_xy, pred_xy = np.array([[0., 0], [11, 3]]), np.array([[10., 0], [21, 3]])
    true_index, pred_index = match_centroids(true_xy, pred_xy)
    assert list(zip(true_index, pred_index, strict=True)) == [(0, 0), (1, 1)]
