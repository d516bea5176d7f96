"""The greedy choice at all sizes and thresholds at once, compared with COCO's loops."""

import numpy as np
import pytest

from mmcell.evaluation.greedy_matching import IOU_THRESHOLDS, match_greedily

N_DETECTIONS, N_CELLS = 30, 24


def match_one_by_one(detections, cells, ious, is_unwanted, is_crowd):
    """Does what ``COCOeval.evaluateImg`` does, with the pairs as a table of IoUs."""
    table = np.zeros((N_DETECTIONS, N_CELLS))
    table[detections, cells] = ious
    shape = (len(is_unwanted), len(IOU_THRESHOLDS), N_DETECTIONS)
    is_hit, is_ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    for size, unwanted in enumerate(is_unwanted):
        order = np.argsort(unwanted, kind='stable')
        for threshold, lowest in enumerate(IOU_THRESHOLDS):
            taken = set()
            for detection in range(N_DETECTIONS):
                best, chosen = lowest, None
                for cell in order:
                    if cell in taken and not is_crowd[cell]:
                        continue
                    if chosen is not None and not unwanted[chosen] and unwanted[cell]:
                        break
                    if table[detection, cell] >= best:
                        best, chosen = table[detection, cell], cell
                if chosen is not None:
                    taken.add(chosen)
                    (is_ignored if unwanted[chosen] else is_hit)[size, threshold, detection] = True
    return is_hit, is_ignored


@pytest.mark.parametrize('n_sizes', [1, 4, 6, 7, 13])
@pytest.mark.parametrize('n_pairs', [20, 60, N_DETECTIONS * N_CELLS])
def test_outcomes_equal_those_of_loops(n_sizes, n_pairs, rng):
    pairs = rng.choice(N_DETECTIONS * N_CELLS, n_pairs, replace=False)
    detections, cells = np.divmod(pairs, N_CELLS)
    # Few values, so that some IoUs are equal, and some are equal to a threshold.
    ious = rng.choice(np.concatenate([IOU_THRESHOLDS, [.52, .77, 1.]]), n_pairs)
    is_crowd = rng.random(N_CELLS) < .2
    is_unwanted = is_crowd | (rng.random((n_sizes, N_CELLS)) < .5)
    is_unwanted[0] = is_crowd
    outcomes = match_greedily(detections, cells, ious, N_DETECTIONS, is_unwanted, is_crowd)
    expected = match_one_by_one(detections, cells, ious, is_unwanted, is_crowd)
    for outcome, by_loops in zip(outcomes, expected, strict=True):
        assert by_loops.any()
        np.testing.assert_array_equal(outcome, by_loops)


def test_without_a_pair_nothing_is_matched():
    none = np.zeros(0, np.int64)
    is_hit, is_ignored = match_greedily(none, none, np.zeros(0), 3, np.zeros((2, 5), bool), np.zeros(5, bool))
    assert is_hit.shape == is_ignored.shape == (2, 10, 3)
    assert not is_hit.any() and not is_ignored.any()
