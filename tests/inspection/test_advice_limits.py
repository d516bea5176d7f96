"""Limits of proposals and detections."""

import numpy as np
import pytest
from support.configs import load
from support.seen_cells import boxes_at_random, seen_cells

from mmcell.inspection.advice_cells import most_in_a_window
from mmcell.inspection.advice_limits import advise_limits, next_limit, reachable_share


def crowds(*counts):
    rng = np.random.default_rng(0)
    return seen_cells([boxes_at_random(rng, number, 10, 10) for number in counts])


def advice_of(cells, config, **kwargs):
    return {advice.kind: advice for advice in advise_limits(cells, config, **kwargs)}


def test_the_share_that_can_be_reached_counts_each_image():
    counts = np.array([10, 150, 440, 0])
    assert [reachable_share(counts, limit) for limit in (5, 100, 150, 440, 1000)] == pytest.approx(
        [15 / 600, 210 / 600, 310 / 600, 1, 1])


@pytest.mark.parametrize(('number', 'limit'), [(1, 100), (100, 100), (100.5, 200), (542, 750), (5001, 6000)])
def test_limits_are_round(number, limit):
    assert next_limit(number) == limit


def test_the_most_crowded_window_is_found():
    spread = np.stack(np.meshgrid(np.arange(0, 1000, 50), np.arange(0, 1000, 50)), axis=-1).reshape(-1, 2)
    crowd = np.random.default_rng(0).uniform(400, 490, (70, 2))
    assert most_in_a_window(crowd, 200.) == 70
    assert 70 + 16 - 4 <= most_in_a_window(np.concatenate([spread, crowd]), 200.) <= 70 + 16
    assert most_in_a_window(np.zeros((0, 2)), 200.) == 0


def test_a_limit_below_the_most_crowded_image_is_raised():
    advice = advice_of(crowds(50, 250, 300), load('cell/mask-rcnn_r50_tv-v1').to_dict())['detections']
    assert advice.settings == {'model.test_cfg.rcnn.max_per_img': 500}
    assert advice.flag == '--cfg-options model.test_cfg.rcnn.max_per_img=500'
    assert 'only 41.7% of the cells can be found: 2 of 3 images have more cells, up to 300' in advice.sentence
    assert ('100 (now)', '41.7%', '2') in advice.table
    assert ('300', '100.0%', '0') in advice.table


def test_limits_that_fit_are_kept():
    found = advice_of(crowds(50, 250, 300), load('cell/mask-rcnn_r50').to_dict())
    assert found['detections'].settings == found['proposals'].settings == {}


def test_proposals_are_two_per_cell_in_images_and_in_crops():
    config = load('cell/mask-rcnn_r50').to_dict()
    rng = np.random.default_rng(0)
    boxes = np.concatenate([boxes_at_random(rng, 1200, 10, 10, side=500), boxes_at_random(rng, 50, 10, 10)])
    key = 'model.test_cfg.rpn'
    tested = {f'{key}.max_per_img': 3000, f'{key}.nms_pre': 3000}
    assert advice_of(seen_cells([boxes]), config, crop_px=256.)['proposals'].settings == tested
    trained = {name.replace('test_cfg.rpn', 'train_cfg.rpn_proposal'): value for name, value in tested.items()}
    assert advice_of(seen_cells([boxes]), config)['proposals'].settings == tested | trained


def test_the_detector_inside_tiles_gets_the_settings():
    config = load('cell/mask-rcnn_r50_tv-v1').to_dict()
    config['model'] = {'type': 'TiledDetector', 'detector': config['model']}
    assert advice_of(crowds(300), config)['detections'].settings == {
        'model.detector.test_cfg.rcnn.max_per_img': 500}


def test_one_stage_models_have_one_limit():
    config = {'model': {'test_cfg': {'max_per_img': 100}}}
    found = advice_of(crowds(130), config)
    assert list(found) == ['detections']
    assert found['detections'].settings == {'model.test_cfg.max_per_img': 200}
