"""Anchors that fit the boxes of cells."""

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from support.configs import load
from support.seen_cells import boxes_at_random, seen_cells

from mmcell.boxes.anchor_recall import best_ious, lay_anchors
from mmcell.inspection.advice_anchors import (
    advise_anchors,
    best_ious_on_grids,
    cluster_shapes,
    iou_of_shapes,
    propose_anchors,
)
from mmcell.inspection.advice_places import with_settings


def test_the_iou_of_shapes_is_that_of_boxes_with_one_centre():
    ious = iou_of_shapes(np.array([[10., 20.], [4, 4]]), np.array([[10., 20.], [20, 10]]))
    assert ious == pytest.approx(np.array([[1, 100 / 300], [16 / 200, 16 / 200]]))


def test_k_means_finds_the_shapes_that_boxes_have():
    shapes = np.array([[12., 12.], [40, 20], [20, 40], [90, 90]])
    boxes = np.random.default_rng(0).permutation(np.repeat(shapes, [50, 30, 30, 20], axis=0))
    assert cluster_shapes(boxes, 4) == pytest.approx(shapes)


def test_k_means_divides_by_the_ratio_of_sizes_and_not_by_their_difference():
    boxes = np.repeat([[8.], [10], [100], [130], [170]], 2, axis=1)
    # Euclidean k-means, whose clusters have less variance, would begin a cluster between 130 and 170 or 100 and 130.
    assert cluster_shapes(boxes, 2)[:, 0] == pytest.approx([9, 400 / 3])


def test_fewer_centres_are_returned_for_fewer_boxes():
    assert cluster_shapes(np.full((5, 2), 16.), 3) == pytest.approx(np.array([[16, 16]]))


@pytest.mark.parametrize('config', ['cell/mask-rcnn_r50', 'cell/mask-rcnn_r101_small-anchors'])
def test_the_best_iou_on_grids_is_that_of_all_anchors(config):
    generator = TASK_UTILS.build(load(config).model.rpn_head.anchor_generator)
    rng = np.random.default_rng(0)
    height, width = 200, 333
    low = rng.uniform(0, (width - 60, height - 60), (300, 2))
    boxes = np.column_stack([low, rng.uniform(5, 60, (300, 2))])
    expected = best_ious(lay_anchors(generator, (height, width), (height, width)), torch.from_numpy(np.column_stack(
        [boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])).float())
    found = best_ious_on_grids(boxes, np.tile([height, width], (300, 1)),
                               [level.numpy().astype(float) for level in generator.base_anchors], generator.strides)
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_proposed_sizes_are_at_least_twice_the_stride_and_as_many_as_levels():
    boxes = np.repeat(np.array([[14.], [20], [30], [50], [90]]), 20, axis=0).repeat(2, axis=1)
    proposals = propose_anchors(boxes, [4, 8, 16, 32, 64], [.5, 1., 2.])
    assert {tuple(layout['base_sizes']) for layout in proposals if 'base_sizes' in layout} == {(14, 20, 32, 64, 128)}
    # All boxes are square: one ratio is enough.
    assert [1.] in [layout['ratios'] for layout in proposals]


def test_anchors_that_are_too_large_are_replaced():
    config = load('cell/mask-rcnn_r50_tv-v1').to_dict()
    cells = seen_cells([boxes_at_random(np.random.default_rng(0), 400, 14, 14)])
    advice, = advise_anchors(cells, config)
    generators = [TASK_UTILS.build(settings['model']['rpn_head']['anchor_generator'])
                  for settings in (config, with_settings(config, advice.settings))]
    xyxy = torch.from_numpy(cells.boxes_xywh).float()
    xyxy[:, 2:] += xyxy[:, :2]
    before, after = ((best_ious(lay_anchors(generator, (1024, 1024), (1000, 1000)), xyxy) >= .5).float().mean()
                     for generator in generators)
    assert before == 0
    assert after == 1
    assert '0.0% of the cells have an anchor with an IoU of at least .5' in advice.sentence
    assert '100.0%' in advice.sentence
    assert [row[2] for row in advice.table[1:3]] == ['0.0%', '100.0%']


def test_anchors_that_fit_are_kept():
    config = load('cell/mask-rcnn_r50').to_dict()
    # Anchors of 32 px on a stride of 8 px have their centres at multiples of 8 px.
    boxes = [[8 * column, 8 * row, 32, 32] for row in range(10) for column in range(10)]
    advice, = advise_anchors(seen_cells([boxes]), config)
    assert advice.settings == {}
    assert advice.flag == ''
    assert 'The anchors of the config fit: 100.0%' in advice.sentence


def test_settings_that_stand_in_the_way_are_removed():
    config = load('cell/mask-rcnn_r101_small-anchors').to_dict()
    boxes = boxes_at_random(np.random.default_rng(0), 200, 300, 300)
    advice, = advise_anchors(seen_cells([boxes]), config)
    assert advice.settings
    TASK_UTILS.build(with_settings(config, advice.settings)['model']['rpn_head']['anchor_generator'])


def test_models_without_anchors_get_no_advice():
    assert list(advise_anchors(seen_cells([[[0, 0, 9, 9]]]), {'model': {'type': 'SOLO'}})) == []
