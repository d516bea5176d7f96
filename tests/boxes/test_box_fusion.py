"""Weighted boxes fusion: its formulas, the authors' package, and a slow implementation without a grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.boxes.fusion import fuse_boxes


def fuse(models, weights=None, **kwargs):
    """Fuses boxes; ``models`` has one list per model with a row (x0, y0, x1, y1, score, label) per box."""
    rows = np.array([row for model in models for row in model], float).reshape(-1, 6)
    sources = np.repeat(np.arange(len(models)), [len(model) for model in models])
    return fuse_boxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(int), sources,
                      np.ones(len(models)) if weights is None else weights, **kwargs)


def test_boxes_are_means_weighted_by_score_and_model():
    fused = fuse([[(0, 0, 10, 10, .8, 1)], [(2, 0, 12, 10, .4, 1)]], weights=[1, 3])
    # Score times weight is .8 and 1.2. x0 is (0 * .8 + 2 * 1.2) / 2. The score is their mean, 1, times 2 models / 4.
    np.testing.assert_allclose(fused.bboxes_xyxy, [[1.2, 0, 11.2, 10]])
    np.testing.assert_allclose(fused.scores, [.5])
    assert fused.labels.tolist() == [1] and fused.fused_index.tolist() == [0, 0]


def test_a_box_of_one_of_three_models_keeps_a_third_of_its_score():
    fused = fuse([[(0, 0, 10, 10, .9, 0)], [], [(50, 50, 60, 60, .6, 2)]])
    np.testing.assert_allclose(fused.scores, [.3, .2])
    assert fused.labels.tolist() == [0, 2] and fused.fused_index.tolist() == [0, 1]


def test_more_boxes_than_models_do_not_raise_the_score():
    fused = fuse([[(0, 0, 10, 10, .9, 0), (0, 0, 10, 10, .9, 0), (0, 0, 10, 10, .6, 0)]])
    np.testing.assert_allclose(fused.scores, [.8])


def test_boxes_of_different_classes_are_not_fused():
    fused = fuse([[(0, 0, 10, 10, .9, 0)], [(0, 0, 10, 10, .9, 1)]])
    assert sorted(fused.labels.tolist()) == [0, 1]


@pytest.mark.parametrize(('iou_threshold', 'n_fused'), [(.59, 1), (.61, 2)])
def test_the_threshold(iou_threshold, n_fused):
    # 75 of 125 px lie in both boxes, hence an IoU of .6.
    fused = fuse([[(0, 0, 10, 10, .9, 0)], [(0, 2.5, 10, 12.5, .8, 0)]], iou_threshold=iou_threshold)
    assert len(fused.scores) == n_fused


def test_a_box_joins_the_fused_box_with_the_greatest_iou_and_moves_it():
    fused = fuse([[(0, 0, 10, 10, .9, 0), (8, 0, 18, 10, .8, 0)], [(5, 0, 15, 10, .7, 0)],
                  [(7, 0, 17, 10, .6, 0)]], iou_threshold=.3)
    assert fused.fused_index.tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(fused.bboxes_xyxy[0, 0], (8 * .8 + 5 * .7 + 7 * .6) / 2.1)


def test_boxes_are_skipped_by_their_score_before_the_weight():
    fused = fuse([[(0, 0, 10, 10, .3, 0)], [(0, 0, 10, 10, .2, 0)]], weights=[1, 5], skip_threshold=.25)
    assert fused.fused_index.tolist() == [0, -1]
    np.testing.assert_allclose(fused.scores, [.3 / 6])


def test_no_boxes_scores_of_zero_and_boxes_without_extent():
    fused = fuse([[], []])
    assert fused.bboxes_xyxy.shape == (0, 4) and fused.fused_index.shape == (0,)
    fused = fuse([[(0, 0, 10, 10, 0, 0)], [(2, 0, 12, 10, 0, 0), (5, 5, 5, 9, .5, 0)]])
    np.testing.assert_allclose(fused.bboxes_xyxy, [[5, 5, 5, 9], [1, 0, 11, 10]])
    np.testing.assert_allclose(fused.scores, [.25, 0])


def test_weights_must_be_positive():
    with pytest.raises(ValueError, match='weights must be positive'):
        fuse([[(0, 0, 10, 10, .3, 0)], []], weights=[1, 0])


# Boxes of three models in two classes, and the result of ensemble-boxes 1.0.9, weighted_boxes_fusion(weights=[2, 1, 1],
# iou_thr=.5, skip_box_thr=.05). The package uses fractions of the image size; here coordinates are multiplied by 1000.
MODELS = [
    [(688, 501, 803, 623, 0.47, 0), (109, 386, 238, 523, 0.65, 1), (446, 162, 529, 295, 0.71, 1)],
    [(116, 240, 225, 350, 0.75, 0), (702, 513, 802, 631, 0.16, 0), (118, 372, 242, 530, 0.4, 1),
     (441, 165, 536, 299, 0.56, 1), (613, 133, 730, 234, 0.62, 0)],
    [(97, 237, 205, 334, 0.37, 0), (623, 139, 752, 237, 0.95, 0)]]
FUSED = [
    (444.586, 162.848, 530.98, 296.131, 0.495, 1),
    (111.118, 382.706, 238.941, 524.647, 0.425, 1),
    (619.051, 136.631, 743.312, 235.815, 0.3925, 0),
    (109.723, 239.009, 218.393, 344.714, 0.28, 0),
    (690.036, 502.745, 802.855, 624.164, 0.275, 0)]


def test_parity_with_the_authors_package():
    fused = fuse(MODELS, weights=[2, 1, 1], iou_threshold=.5, skip_threshold=.05)
    rows = np.column_stack([fused.bboxes_xyxy, fused.scores, fused.labels])
    # The package computes in float32.
    np.testing.assert_allclose(rows, FUSED, rtol=1e-5, atol=1e-3)


@given(st.integers(0, 10 ** 6))
def test_the_grid_finds_all_overlaps(seed):
    """The expected clusters result from comparing every box with every fused box."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 40)
    corners = rng.uniform(0, 60, (n, 2))
    bboxes = np.concatenate([corners, corners + rng.choice([1, 8, 30], (n, 2)) * rng.uniform(.5, 1, (n, 2))], axis=1)
    scores, threshold = rng.random(n), rng.uniform(.05, .6)
    clusters = []
    for i in np.argsort(-scores):
        overlaps = [_iou(bboxes[i], np.average(bboxes[members], axis=0, weights=scores[members]))
                    for members in clusters]
        if overlaps and max(overlaps) > threshold:
            clusters[int(np.argmax(overlaps))].append(i)
        else:
            clusters.append([i])
    fused = fuse_boxes(bboxes, scores, np.zeros(n, int), np.zeros(n, int), np.ones(1), threshold)
    fused_members = {frozenset(np.flatnonzero(fused.fused_index == k)) for k in range(len(fused.scores))}
    assert fused_members == {frozenset(members) for members in clusters}


def _iou(first, second):
    overlap = (np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])).clip(min=0).prod()
    return overlap / ((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - overlap)
