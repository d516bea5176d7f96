"""Advice on red and blue, and on the contrast of images."""

from dataclasses import replace

import pytest
from mmdet.registry import TRANSFORMS
from support.configs import load
from support.planted_cells import inspected

from mmcell.inspection.advice_images import advise_colors, advise_contrast
from mmcell.inspection.advice_places import find_pipelines, with_settings


@pytest.fixture
def dark(scenes):
    return inspected([replace(scene, image=scene.image // 8) for scene in scenes[:4]])


def test_images_that_look_swapped_are_read_in_the_other_order(scenes, clean):
    swapped = inspected([replace(scene, image=scene.image[..., ::-1]) for scene in scenes])
    advice, = advise_colors([swapped])
    assert advice.flag == '--channel-order bgr'
    assert list(advise_colors([clean])) == []


def test_the_contrast_of_dark_images_is_stretched_in_all_pipelines(dark):
    config = load('cell/mask-rcnn_r50').to_dict()
    advice, = advise_contrast([dark], config)
    assert advice.flag == '--percentiles 1 99.8'
    pipelines = find_pipelines(with_settings(config, advice.settings))
    assert len(pipelines) == 3
    assert {TRANSFORMS.build(pipeline[0]).percentiles for pipeline in pipelines.values()} == {(1., 99.8)}


def test_bright_images_and_stretched_ones_keep_their_contrast(dark, clean):
    config = load('cell/mask-rcnn_r50').to_dict()
    assert list(advise_contrast([clean], config)) == []
    advice, = advise_contrast([dark], config)
    assert list(advise_contrast([dark], with_settings(config, advice.settings))) == []
