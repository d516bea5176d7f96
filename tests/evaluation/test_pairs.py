import numpy as np
import pycocotools.mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.label_map_pairs import ImageCells, pairs_of

from mmcell.evaluation.pairs import centroids_xy

SIZE = (6, 5)


def encode(masks):
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def bar(first, last):
    """Returns a mask of one row of 8 px whose pixels from ``first`` up to, but without, ``last`` are covered."""
    mask = np.zeros((1, 8), bool)
    mask[0, first:last] = True
    return mask


MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 6), st.just(SIZE[0]), st.just(SIZE[1])))


@given(MASKS, st.data(), st.sampled_from([.0, .25, .5, .75, 2]))
def test_a_threshold_after_painting_equals_a_threshold_before_painting(masks, data, threshold):
    scores = np.array(data.draw(st.lists(st.sampled_from([.25, .5, .75]), min_size=len(masks), max_size=len(masks))))
    rles = encode(masks)
    true_rles, is_kept = encode(np.tri(SIZE[0], SIZE[1])[None]), np.flatnonzero(scores >= threshold)

    def pair(indices):
        return pairs_of(ImageCells(SIZE, true_rles, np.array([1]), [rles[i] for i in indices], indices % 3 + 1,
                                   scores[indices])).painted[0]

    after, before = pair(np.arange(len(masks))).above(threshold), pair(is_kept)
    assert after.overlaps.intersections_px.tolist() == before.overlaps.intersections_px.tolist()
    assert after.overlaps.pred_areas_px.tolist() == before.overlaps.pred_areas_px.tolist()
    assert after.pred_classes.tolist() == before.pred_classes.tolist()
    np.testing.assert_array_equal(after.pred_centroids_xy, before.pred_centroids_xy)


def test_overlapping_truth_shows_the_smaller_cell_whatever_the_order():
    for rles in (encode([bar(0, 8), bar(2, 4)]), encode([bar(2, 4), bar(0, 8)])):
        painted, = pairs_of(ImageCells((1, 8), rles, np.array([1, 1]), [], np.zeros(0, int), np.zeros(0))).painted
        assert sorted(painted.overlaps.true_areas_px.tolist()) == [2, 6]


def test_centroids_are_mean_pixel_positions():
    label_map = np.array([[0, 7, 7, 7], [0, 0, 0, 0], [2, 0, 0, 0]])
    assert centroids_xy(label_map, np.array([2, 7])).tolist() == [[0, 2], [2, 0]]
    assert centroids_xy(np.zeros((3, 4), int), np.zeros(0, int)).shape == (0, 2)
