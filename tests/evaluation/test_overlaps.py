import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.evaluation.overlaps import overlaps_of_label_maps, overlaps_of_rles

SHAPE = (9, 7)
LABEL_MAPS = hnp.arrays(np.int32, SHAPE, elements=st.sampled_from([0, 0, 2, 3, 70000, 2**31 - 1]))
MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(SHAPE[0]), st.just(SHAPE[1])))


def encode(masks):
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def dense_ious(overlaps):
    table = np.zeros((len(overlaps.true_ids), len(overlaps.pred_ids)))
    table[overlaps.true_index, overlaps.pred_index] = overlaps.ious
    return table


@given(LABEL_MAPS, LABEL_MAPS)
def test_overlaps_of_label_maps_are_those_of_their_masks(true_map, pred_map):
    overlaps = overlaps_of_label_maps(true_map, pred_map)
    ids = [[i for i in np.unique(label_map) if i] for label_map in (true_map, pred_map)]
    assert overlaps.true_ids.tolist() == ids[0] and overlaps.pred_ids.tolist() == ids[1]
    masks = [[label_map == i for i in map_ids] for label_map, map_ids in zip((true_map, pred_map), ids, strict=True)]
    assert overlaps.true_areas_px.tolist() == [mask.sum() for mask in masks[0]]
    expected = [(i, j, (a & b).sum()) for i, a in enumerate(masks[0]) for j, b in enumerate(masks[1]) if (a & b).any()]
    assert list(zip(overlaps.true_index, overlaps.pred_index, overlaps.intersections_px, strict=True)) == expected


@given(MASKS, MASKS)
def test_overlaps_of_rles_agree_with_pycocotools(true_masks, pred_masks):
    overlaps = overlaps_of_rles(encode(true_masks), encode(pred_masks))
    if len(true_masks) and len(pred_masks):
        expected = pycocotools.mask.iou(encode(pred_masks), encode(true_masks), [0] * len(true_masks)).T
        # For two empty masks pycocotools computes 0 / 0; here they are not a pair.
        np.testing.assert_array_equal(dense_ious(overlaps), np.nan_to_num(expected))
    assert overlaps.pred_areas_px.tolist() == pred_masks.sum((1, 2)).tolist()


@given(MASKS, MASKS, st.data())
def test_overlaps_of_some_predictions_are_those_without_the_others(true_masks, pred_masks, data):
    is_kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(pred_masks), max_size=len(pred_masks))), bool)
    some = overlaps_of_rles(encode(true_masks), encode(pred_masks)).of_predictions(is_kept)
    expected = overlaps_of_rles(encode(true_masks), encode(pred_masks[is_kept]))
    for name in ('true_index', 'pred_index', 'intersections_px', 'true_areas_px', 'pred_areas_px'):
        np.testing.assert_array_equal(getattr(some, name), getattr(expected, name))
    assert some.pred_ids.tolist() == np.flatnonzero(is_kept).tolist()


def test_maps_and_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r'one shape, got \(2, 3\) and \(3, 2\)'):
        overlaps_of_label_maps(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r'one size, got \[\(2, 3\), \(3, 2\)\]'):
        overlaps_of_rles(encode(np.ones((1, 2, 3))), encode(np.ones((1, 3, 2))))


def test_a_map_without_pixels_has_no_cells():
    overlaps = overlaps_of_label_maps(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert len(overlaps.true_ids) == len(overlaps.pred_ids) == len(overlaps.ious) == 0
