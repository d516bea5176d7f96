"""Non-maximum suppression of masks, compared with loops over bitmaps."""

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.errors import MmcellError
from mmcell.masks import suppression
from mmcell.masks.runs import MaskRuns
from mmcell.masks.suppression import MaskNMS, suppress_masks

HEIGHT, WIDTH = 5, 4
MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 9), st.just(HEIGHT), st.just(WIDTH)))


def as_runs(masks):
    rles = [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return MaskRuns.from_rles(rles, *np.shape(masks)[1:])


def suppress(masks, scores, labels=None, threshold=.5, class_agnostic=False):
    """Returns the kept indices of bitmaps (N, H, W), as a list."""
    labels = np.zeros(len(masks), int) if labels is None else np.array(labels)
    return suppress_masks(as_runs(np.array(masks)), np.array(scores), labels,
                          MaskNMS(threshold, class_agnostic)).tolist()


def suppress_in_loops(masks, scores, labels, threshold, class_agnostic):
    kept = []
    for i in sorted(range(len(masks)), key=lambda i: -scores[i]):
        rivals = [masks[j] for j in kept if class_agnostic or labels[i] == labels[j]]
        if all((masks[i] & rival).sum() <= threshold * (masks[i] | rival).sum() for rival in rivals):
            kept.append(i)
    return sorted(kept)


@given(MASKS, st.data(), st.sampled_from([0, .25, .5, .75, 1]), st.booleans(), st.sampled_from([1, 9, 1 << 14]))
def test_detections_are_those_of_loops_over_bitmaps(masks, data, threshold, class_agnostic, runs_at_once):
    scores = data.draw(hnp.arrays(np.float32, len(masks), elements=st.sampled_from([.1, .2, .3, .9])))
    labels = data.draw(hnp.arrays(np.int64, len(masks), elements=st.integers(0, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppression, '_RUNS_AT_ONCE', runs_at_once)
        kept = suppress(masks, scores, labels, threshold, class_agnostic)
    assert kept == suppress_in_loops(masks, scores, labels, threshold, class_agnostic)
    # Those of a low score decide nothing about the others.
    high = np.flatnonzero(scores > .15)
    kept_of_high = high[suppress(masks[high], scores[high], labels[high], threshold, class_agnostic)]
    assert kept_of_high.tolist() == [i for i in kept if scores[i] > .15]


def ellipse(x, y, shape=(60, 60)):
    """Returns a bitmap of an ellipse with half axes of 24 and 3.5 px that lies diagonally."""
    rows, columns = np.indices(shape)
    along, across = (columns - x + rows - y) / 2 ** .5, (columns - x - rows + y) / 2 ** .5
    return (along / 24) ** 2 + (across / 3.5) ** 2 <= 1


def box_iou(mask, other):
    (left, top, right, bottom), (x0, y0, x1, y1) = as_runs([mask, other]).extents_xyxy
    shared = max(min(right, x1) - max(left, x0), 0) * max(min(bottom, y1) - max(top, y0), 0)
    return shared / ((right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - shared)


def test_long_cells_that_touch_diagonally_both_survive():
    cells = [ellipse(32, 26), ellipse(28, 30)]
    assert box_iou(*cells) > .6 and 0 < (cells[0] & cells[1]).sum() < .1 * cells[0].sum()
    assert suppress(cells, [.9, .8], threshold=.1) == [0, 1]
    duplicate = ellipse(30, 32)
    assert suppress([*cells, duplicate], [.9, .8, .7], threshold=.3) == [0, 1]
    assert suppress([duplicate, *cells], [.9, .8, .7], threshold=.3) == [0, 1]


def test_a_cell_with_two_classes_keeps_the_better_one_if_classes_do_not_count():
    cells = [ellipse(30, 30)] * 2
    assert suppress(cells, [.4, .6], [0, 1], threshold=.5) == [0, 1]
    assert suppress(cells, [.4, .6], [0, 1], threshold=.5, class_agnostic=True) == [1]
    assert suppress(cells, [.6, .6], [1, 0], threshold=.5, class_agnostic=True) == [0]


def test_only_a_greater_iou_than_the_threshold_counts():
    masks = np.zeros((2, 4, 5), bool)
    masks[0, :3], masks[1, 1:] = True, True
    assert suppress(masks, [.5, .9], threshold=.5) == [0, 1]
    assert suppress(masks, [.5, .9], threshold=np.nextafter(.5, 0)) == [1]


def test_what_was_dropped_drops_nothing():
    # Each mask is shifted by 2 of 8 px, and has an IoU of .6 with its neighbours and 1/3 with the next but one.
    masks = np.zeros((4, 3, 20), bool)
    for i, mask in enumerate(masks):
        mask[:, 2 * i:2 * i + 8] = True
    assert suppress(masks, [.9, .8, .7, .6]) == [0, 2]
    assert suppress(masks, [.6, .7, .8, .9]) == [1, 3]
    assert suppress(masks, [.6, .9, .9, .9]) == [1, 3]


def test_masks_without_a_pixel_are_kept_and_no_detection_is_none():
    assert suppress(np.zeros((2, 3, 4), bool), [.1, .2], threshold=0) == [0, 1]
    assert suppress(np.zeros((0, 3, 4), bool), []) == []


@pytest.mark.parametrize('settings', [
    .5, {}, dict(class_agnostic=True), dict(iou_threshold=.5, iou_thr=.5), dict(iou_threshold='.5'),
    dict(iou_threshold=-.1), dict(iou_threshold=1.1), dict(iou_threshold=float('nan')), dict(iou_threshold=True),
    dict(iou_threshold=None), dict(iou_threshold=.5, class_agnostic='False')])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(MmcellError, match='mask_nms'):
        MaskNMS.from_settings(settings)


def test_settings_of_a_config():
    assert MaskNMS.from_settings(dict(iou_threshold=.3)) == MaskNMS(.3, class_agnostic=False)
    assert MaskNMS.from_settings(dict(iou_threshold=0, class_agnostic=True)) == MaskNMS(0, True)
