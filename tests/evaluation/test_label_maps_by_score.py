import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.label_maps import centroids_xy, label_map_by_score, paint_pair

SIZE = (6, 5)


def encode(masks):
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def bar(first, last):
    """Returns a mask of one row of 8 px whose pixels from ``first`` up to, but without, ``last`` are covered."""
    mask = np.zeros((1, 8), bool)
    mask[0, first:last] = True
    return mask


@pytest.mark.parametrize('scores, expected', [
    ([.9, .8, .7], [1, 1, 1, 1, 1, 2, 3, 0]),
    ([.7, .8, .9], [1, 2, 2, 3, 3, 3, 3, 0]),
    ([.9, .2, .3], [1, 1, 1, 1, 1, 3, 3, 0]),   # the second instance is hidden
    ([.5, .5, .5], [1, 1, 1, 3, 3, 3, 3, 0]),   # equal scores: the smaller is seen, and among equal areas the earlier
])
def test_the_highest_score_is_seen(scores, expected):
    rles = encode([bar(0, 5), bar(1, 6), bar(3, 7)])
    assert label_map_by_score(rles, np.array(scores), (1, 8))[0].tolist() == expected


MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 6), st.just(SIZE[0]), st.just(SIZE[1])))


@given(MASKS, st.data(), st.sampled_from([.0, .25, .5, .75, 2]))
def test_a_threshold_after_painting_equals_a_threshold_before_painting(masks, data, threshold):
    scores = np.array(data.draw(st.lists(st.sampled_from([.25, .5, .75]), min_size=len(masks), max_size=len(masks))))
    rles = encode(masks)
    true_rles, is_kept = encode(np.tri(SIZE[0], SIZE[1])[None]), np.flatnonzero(scores >= threshold)

    def pair(indices):
        return ImagePair(1, *SIZE, true_rles, np.array([1]), [rles[i] for i in indices], indices + 10, scores[indices])

    after, before = paint_pair(pair(np.arange(len(masks)))).above(threshold), paint_pair(pair(is_kept))
    assert after.overlaps.intersections_px.tolist() == before.overlaps.intersections_px.tolist()
    assert after.overlaps.pred_areas_px.tolist() == before.overlaps.pred_areas_px.tolist()
    assert after.pred_classes.tolist() == before.pred_classes.tolist()
    np.testing.assert_array_equal(after.pred_centroids_xy, before.pred_centroids_xy)


def test_overlapping_truth_shows_the_smaller_cell_whatever_the_order():
    for rles in (encode([bar(0, 8), bar(2, 4)]), encode([bar(2, 4), bar(0, 8)])):
        painted = paint_pair(ImagePair(1, 1, 8, rles, np.array([1, 1]), [], np.zeros(0, int), np.zeros(0)))
        assert sorted(painted.overlaps.true_areas_px.tolist()) == [2, 6]


def test_centroids_are_mean_pixel_positions():
    label_map = np.array([[0, 7, 7, 7], [0, 0, 0, 0], [2, 0, 0, 0]])
    assert centroids_xy(label_map, np.array([2, 7])).tolist() == [[0, 2], [2, 0]]
    assert centroids_xy(np.zeros((3, 4), int), np.zeros(0, int)).shape == (0, 2)


def test_an_instance_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'instance 1 has size \[1, 8\], but its image \[6, 5\] \(height, width\)'):
        label_map_by_score(encode([np.ones(SIZE), bar(0, 1)]), np.ones(2), SIZE)
