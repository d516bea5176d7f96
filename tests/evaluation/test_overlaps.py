import numpy as np
import pycocotools.mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.evaluation.overlaps import Overlaps, overlaps_of_label_maps
from mmcell.masks.runs import MaskRuns, intersections_px

SHAPE = (9, 7)
LABEL_MAPS = hnp.arrays(np.int32, SHAPE, elements=st.sampled_from([0, 0, 2, 3, 70000, 2**31 - 1]))
MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(SHAPE[0]), st.just(SHAPE[1])))


def encode(masks):
    return [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def decode(masks, image_index=None, n_images=1):
    """Decodes bitmaps (N, H, W) of images that lie side by side; all in the first one if nothing else is said."""
    height, width = masks.shape[1:]
    left = width * (np.zeros(len(masks), int) if image_index is None else np.asarray(image_index, int))
    rects = np.stack([left, 0 * left, left + width, 0 * left + height], axis=1)
    return MaskRuns.from_rles(encode(masks), height, n_images * width, rects)


def overlaps_of_masks(true, predicted):
    return Overlaps(true.areas_px, predicted.areas_px, *intersections_px(true, predicted))


def dense_ious(overlaps):
    table = np.zeros((len(overlaps.true_areas_px), len(overlaps.pred_areas_px)))
    table[overlaps.true_index, overlaps.pred_index] = overlaps.ious
    return table


@given(LABEL_MAPS, LABEL_MAPS)
def test_overlaps_of_label_maps_are_those_of_their_masks(true_map, pred_map):
    overlaps, true_ids, pred_ids = overlaps_of_label_maps(true_map, pred_map)
    ids = [[i for i in np.unique(label_map) if i] for label_map in (true_map, pred_map)]
    assert true_ids.tolist() == ids[0] and pred_ids.tolist() == ids[1]
    masks = [[label_map == i for i in map_ids] for label_map, map_ids in zip((true_map, pred_map), ids, strict=True)]
    assert overlaps.true_areas_px.tolist() == [mask.sum() for mask in masks[0]]
    expected = [(i, j, (a & b).sum()) for i, a in enumerate(masks[0]) for j, b in enumerate(masks[1]) if (a & b).any()]
    assert list(zip(overlaps.true_index, overlaps.pred_index, overlaps.intersections_px, strict=True)) == expected


@given(MASKS, MASKS)
def test_overlaps_of_masks_agree_with_pycocotools(true_masks, pred_masks):
    overlaps = overlaps_of_masks(decode(true_masks), decode(pred_masks))
    if len(true_masks) and len(pred_masks):
        expected = pycocotools.mask.iou(encode(pred_masks), encode(true_masks), [0] * len(true_masks)).T
        # For two empty masks pycocotools computes 0 / 0; here they are not a pair.
        np.testing.assert_array_equal(dense_ious(overlaps), np.nan_to_num(expected))
    assert overlaps.pred_areas_px.tolist() == pred_masks.sum((1, 2)).tolist()


@given(MASKS, MASKS, st.data())
def test_overlaps_of_some_predictions_are_those_without_the_others(true_masks, pred_masks, data):
    is_kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(pred_masks), max_size=len(pred_masks))), bool)
    some = overlaps_of_masks(decode(true_masks), decode(pred_masks)).of_predictions(is_kept)
    expected = overlaps_of_masks(decode(true_masks), decode(pred_masks[is_kept]))
    for name in ('true_index', 'pred_index', 'intersections_px', 'true_areas_px', 'pred_areas_px'):
        np.testing.assert_array_equal(getattr(some, name), getattr(expected, name))


@given(MASKS, MASKS, st.data())
def test_masks_of_different_images_share_nothing(true_masks, pred_masks, data):
    true_images, pred_images = (np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(masks),
                                                            max_size=len(masks))), int)
                                for masks in (true_masks, pred_masks))
    overlaps = overlaps_of_masks(decode(true_masks, true_images, 3), decode(pred_masks, pred_images, 3))
    expected = [(i, j, (a & b).sum()) for i, a in enumerate(true_masks) for j, b in enumerate(pred_masks)
                if true_images[i] == pred_images[j] and (a & b).any()]
    assert list(zip(overlaps.true_index, overlaps.pred_index, overlaps.intersections_px, strict=True)) == expected


def test_masks_of_images_of_different_sizes_lie_side_by_side():
    # The image of 2 x 3 px has the columns 0 to 2, the image of 1 x 2 px the columns 3 and 4 of a canvas 2 px high.
    rles = [{'size': [2, 3], 'counts': [1, 2, 3]}, {'size': [1, 2], 'counts': [0, 2]}]
    masks = MaskRuns.from_rles(rles, 2, 5, np.array([[0, 0, 3, 2], [3, 0, 5, 1]]))
    assert (masks.starts.tolist(), masks.ends.tolist()) == ([1, 2, 6, 8], [2, 3, 7, 9])
    assert masks.n_runs.tolist() == [2, 2] and masks.part(slice(1, 2)).starts.tolist() == [6, 8]
    assert masks.areas_px.tolist() == [2, 2]


def test_a_map_without_pixels_has_no_cells():
    overlaps, true_ids, pred_ids = overlaps_of_label_maps(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert len(true_ids) == len(pred_ids) == len(overlaps.ious) == 0
