"""Numbers of classes, and rare classes."""

import numpy as np
import pytest
from support.configs import load
from support.seen_cells import boxes_at_random, seen_cells

from mmcell.inspection.advice_classes import advise_classes, advise_sampling, cells_per_crop
from mmcell.inspection.advice_places import find_pipelines, with_settings


def images_of(*counts, **kwargs):
    """One image per pair of numbers of cells of two classes, at random places."""
    rng = np.random.default_rng(0)
    return seen_cells([boxes_at_random(rng, sum(pair), 20, 20) for pair in counts],
                      [np.repeat([0, 1], pair) for pair in counts], **kwargs)


def test_both_heads_get_the_number_of_classes():
    advice, = advise_classes(images_of((3, 4)), load('cell/mask-rcnn_r50').to_dict())
    assert advice.settings == {'model.roi_head.bbox_head.num_classes': 2, 'model.roi_head.mask_head.num_classes': 2}
    assert advice.sentence == 'The data have 2 classes (one, two), the model 4.'


def test_the_number_of_classes_may_fit():
    cells = images_of((3, 4), names=('one', 'two', 'three', 'four'))
    advice, = advise_classes(cells, load('cell/cascade-mask-rcnn_r50').to_dict())
    assert advice.settings == {}


def test_each_stage_gets_the_number_of_classes():
    config = load('cell/cascade-mask-rcnn_r50').to_dict()
    advice, = advise_classes(images_of((3, 4)), config)
    heads = with_settings(config, advice.settings)['model']['roi_head']
    assert [head['num_classes'] for head in [*heads['bbox_head'], heads['mask_head']]] == [2, 2, 2, 2]


def test_models_of_one_stage_get_it_in_each_head():
    config = load('voc/yolact_r50').to_dict()
    advice, = advise_classes(images_of((3, 4)), config)
    assert set(advice.settings.values()) == {2}
    assert {'model.bbox_head.num_classes', 'model.mask_head.num_classes'} <= set(advice.settings)


def test_crops_as_large_as_the_images_show_all_cells():
    cells = images_of((30, 2), (0, 0), (5, 7))
    assert cells_per_crop(cells, 1000.) == pytest.approx(np.array([[30, 2], [0, 0], [5, 7]]))
    assert cells_per_crop(cells, None) == pytest.approx(np.array([[30, 2], [0, 0], [5, 7]]))


def test_crops_show_cells_in_proportion_to_their_area():
    grid = np.stack(np.meshgrid(np.arange(0, 2000, 20), np.arange(0, 2000, 20)), axis=-1).reshape(-1, 2)
    cells = seen_cells([np.column_stack([grid, np.full_like(grid, 10)])], size=(2000, 2000))
    assert cells_per_crop(cells, 500.)[0] == pytest.approx([len(grid) / 16, 0], rel=.02)


def test_crops_by_class_show_a_rare_cell_in_a_quarter_of_the_crops_at_least():
    cells = images_of((900, 1), size=(4000, 4000))
    by_chance, aimed = (cells_per_crop(cells, 256., fraction)[0, 1] for fraction in (1., .5))
    assert by_chance < .05
    # Half of the crops are aimed, half of these at the class with one cell.
    assert aimed == pytest.approx(.25, abs=.08)


def test_equally_frequent_classes_need_nothing():
    advice, = advise_sampling(images_of((30, 20), (10, 15)), load('cell/mask-rcnn_r50').to_dict())
    assert advice.settings == {}
    assert 'No class is rare' in advice.sentence


def test_one_class_needs_nothing():
    advice, = advise_sampling(seen_cells([[[0, 0, 9, 9]]], names=['one']), load('cell/mask-rcnn_r50').to_dict())
    assert (advice.settings, advice.table) == ({}, ())


def test_images_with_a_rare_class_are_drawn_more_often():
    config = load('cell/mask-rcnn_r50_tv-v1').to_dict()
    advice, = advise_sampling(images_of(*[(49, 0)] * 10, (0, 10)), config)
    assert advice.settings == {'train_dataloader.sampler.type': 'ClassBalancedSampler'}
    assert advice.flag == '--cfg-options train_dataloader.sampler.type=ClassBalancedSampler'
    # The factor of the rare class is sqrt(.5 / .02) = 5: it has 50 of 540 cells in place of 10 of 500.
    assert 'from 2.0% to 9.3%' in advice.sentence


def test_crops_are_placed_by_class_if_every_image_has_the_rare_class():
    config = load('cell/mask-rcnn_r50').to_dict()
    advice, = advise_sampling(images_of((900, 4), (900, 4), size=(4000, 4000)), config)
    pipeline, = find_pipelines(with_settings(config, advice.settings), ['train_dataloader']).values()
    assert [step['type'] for step in pipeline][2] == 'ClassBalancedCrop'
    assert 'ClassBalancedCrop raises their share' in advice.sentence


@pytest.mark.parametrize('name', ['class-balanced', 'rare-paste'])
def test_what_is_there_already_is_not_advised(name):
    advice, = advise_sampling(images_of(*[(49, 0)] * 10, (0, 10)), load(f'cell/mask-rcnn_r50_{name}').to_dict())
    assert advice.settings == {}
    assert 'already' in advice.sentence
