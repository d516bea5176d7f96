"""Scale of the input, crops, tiles and masks."""

import numpy as np
import pytest
from support.configs import load
from support.seen_cells import boxes_at_random, seen_cells

from mmcell.inspection.advice_cells import find_scales
from mmcell.inspection.advice_places import find_pipelines, with_settings
from mmcell.inspection.advice_scale import (
    advise_crop,
    advise_masks,
    advise_scale,
    advise_tiles,
    cut_share,
    find_crop,
)


def cells_of(side, number=200, **kwargs):
    return seen_cells([boxes_at_random(np.random.default_rng(0), number, side, side)], **kwargs)


def config_of(name='mask-rcnn_r50', **settings):
    return with_settings(load(f'cell/{name}').to_dict(), settings)


def test_scales_are_those_of_the_pipeline():
    sizes = np.array([[400, 800], [2000, 1000], [400, 800]])
    steps = [dict(type='LoadTiff'), dict(type='CapLongSide', max_side=1000), dict(type='PackCellInputs')]
    assert find_scales(steps, sizes) == pytest.approx(np.array([[1, 1], [.5, .5], [1, 1]]))
    steps[1:1] = [dict(type='Resize', scale_factor=(3., 2.), keep_ratio=False)]
    # 400 x 800 becomes 800 x 2400, of which the longer side is capped.
    assert find_scales(steps, sizes)[0] == pytest.approx([2 / 2.4, 3 / 2.4], abs=1e-3)
    assert find_scales([], sizes) == pytest.approx(np.ones((3, 2)))


@pytest.mark.parametrize('side', [13, 24, 150])
def test_cells_of_usual_size_keep_their_scale(side):
    advice, = advise_scale(cells_of(side), config_of())
    assert advice.settings == {}
    assert 'The scale fits.' in advice.sentence


@pytest.mark.parametrize(('side', 'factor'), [(6, 4.), (240, .1)])
def test_cells_that_are_far_too_small_or_large_are_resized(side, factor):
    config = config_of()
    advice, = advise_scale(cells_of(side), config)
    changed = find_pipelines(with_settings(config, advice.settings))
    assert len(changed) == 3
    for pipeline in changed.values():
        assert dict(type='Resize', scale_factor=factor, keep_ratio=True) in pipeline
        assert find_scales([step for step in pipeline if step['type'] == 'Resize'], np.array([[100, 100]])) == (
            pytest.approx(factor * np.ones((1, 2))))


def test_another_resizing_is_replaced():
    config = config_of('mask-rcnn_r50_tv-v1')
    advice, = advise_scale(cells_of(6, scale=2.), config)
    for pipeline in find_pipelines(with_settings(config, advice.settings)).values():
        assert [step for step in pipeline if step['type'] == 'Resize'] == [
            dict(type='Resize', scale_factor=8., keep_ratio=True)]


def test_different_factors_are_named():
    cells = seen_cells([[[0, 0, 20, 20]]] * 2)
    cells.scales[1] = 5
    advice, = advise_scale(cells, config_of('mask-rcnn_r50_tv-v1'))
    assert 'by factors from 1.20 to 4.80' in advice.sentence
    assert advice.settings == {}


def test_the_share_of_cut_cells():
    sizes = np.full((1, 2), 10000.)
    assert cut_share(np.array([[10., 10.]]), sizes, 90.) == pytest.approx(1 - .8 ** 2)
    assert cut_share(np.array([[90., 10.]]), sizes, 90.) == 1
    assert cut_share(np.array([[10., 10.]]), np.full((1, 2), 90.), 90.) == 0


def test_the_share_of_cut_cells_is_that_of_random_windows():
    starts = np.arange(-400, 400, .01)
    shows_some, shows_all = (starts < 20) & (starts + 100 > 0), (starts <= 0) & (starts + 100 >= 20)
    share = cut_share(np.array([[20., 20.]]), np.array([[100., 10000.]]), 100.)
    assert share == pytest.approx(1 - shows_all.sum() / shows_some.sum(), abs=1e-4)


def test_crops_that_cut_many_cells_become_larger():
    config = config_of()
    assert find_crop(config)[2] == 512
    kept, = advise_crop(cells_of(20), config)
    assert kept.settings == {}
    advice, = advise_crop(cells_of(60, size=(4000, 4000)), config)
    assert find_crop(with_settings(config, advice.settings))[2] == 1024
    assert 'cuts 37.6% of the cells that they show, with 1024 px 20.9%' in advice.sentence


def test_large_whole_images_are_cropped():
    config = config_of('mask-rcnn_r50_tv-v1')
    whole, = advise_crop(cells_of(20), config)
    assert whole.settings == {}
    assert find_crop(config) is None
    advice, = advise_crop(cells_of(20, size=(3000, 3000)), config)
    changed = with_settings(config, advice.settings)
    assert find_crop(changed)[2] == 512
    types = [step['type'] for step in changed['train_dataloader']['dataset']['pipeline']]
    assert types == ['LoadTiff', 'LoadCellAnnotations', 'Resize', 'RandomCrop', 'FilterAnnotations', 'PackCellInputs']


def test_tiles_are_advised_for_large_and_for_crowded_images():
    small, = advise_tiles(cells_of(40), config_of())
    assert small.flag == ''
    large, = advise_tiles(cells_of(40, size=(3000, 2000)), config_of())
    # 40 px and 4 px on both sides are 48 px, of which the next multiple of 32 px is 64.
    assert large.flag == '--tile 512 --overlap 64'
    longer, = advise_tiles(cells_of(150, size=(3000, 2000)), config_of())
    assert longer.flag == '--tile 768 --overlap 160'
    crowded, = advise_tiles(cells_of(40, number=1001), config_of())
    assert crowded.flag == '--tile 512 --overlap 64'


def test_masks_are_finer_for_large_cells():
    config = config_of()
    kept, = advise_masks(cells_of(60), config)
    assert kept.settings == {}
    advice, = advise_masks(cells_of(100), config)
    assert advice.settings == {'model.train_cfg.rcnn.mask_size': 56,
                               'model.roi_head.mask_roi_extractor.roi_layer.output_size': 28}
    stages = config_of('cascade-mask-rcnn_r50')
    advice, = advise_masks(cells_of(100), stages)
    assert [stage['mask_size'] for stage in with_settings(stages, advice.settings)['model']['train_cfg']['rcnn']] == [
        56, 56, 56]
