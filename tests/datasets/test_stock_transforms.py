"""Transforms of other packages that the guide names change nothing but the image, with masks that are label maps."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope
from support.stains import stained_image
from support.synthetic_data import discs

from mmcell.framework.randomness import own_randomness
from mmcell.masks.label_map_masks import LabelMapMasks

STOCK = [dict(type='PhotoMetricDistortion'),
         dict(type='mmpretrain.ColorJitter', brightness=.3, contrast=.3, saturation=.3, hue=.1, backend='cv2'),
         dict(type='mmpretrain.GaussianBlur', magnitude_range=(.5, 2), magnitude_std='inf', prob=.9),
         dict(type='mmpretrain.RandomGrayscale', prob=.9, keep_channels=True)]


@pytest.fixture(autouse=True)
def mmdet_scope():
    init_default_scope('mmdet')


def make_sample():
    image = stained_image(np.random.default_rng(0))
    masks = LabelMapMasks.from_label_maps([discs(image.shape[:2], [(1, 12, 20, 8), (2, 40, 50, 9)])])
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_masks=masks,
                gt_bboxes=masks.get_bboxes(), gt_bboxes_labels=np.arange(2), gt_ignore_flags=np.array([False, True]))


@pytest.mark.parametrize('config', STOCK, ids=lambda config: config['type'])
def test_stock_transforms_change_only_the_image(config):
    transform = TRANSFORMS.build(config)
    original, n_changed = make_sample(), 0
    for seed in range(6):
        outputs = []
        for _ in range(2):
            with own_randomness(seed):
                outputs.append(transform(make_sample()))
        results = outputs[0]
        np.testing.assert_array_equal(results['img'], outputs[1]['img'])
        n_changed += (np.asarray(results['img'], float) != original['img']).any()
        assert results['img'].shape == original['img'].shape
        # Only PhotoMetricDistortion returns floats, which the preprocessor of the model takes as well.
        assert (results['img'].dtype == np.uint8) == (config['type'] != 'PhotoMetricDistortion')
        np.testing.assert_array_equal(results['gt_masks'].layers, original['gt_masks'].layers)
        np.testing.assert_array_equal(results['gt_bboxes'].numpy(), original['gt_bboxes'].numpy())
        for key in ('gt_bboxes_labels', 'gt_ignore_flags', 'img_shape'):
            np.testing.assert_array_equal(results[key], original[key])
    assert n_changed >= 3


@pytest.mark.parametrize('name', ['StainJitter', 'DefocusBlur', 'ImageNoise', 'GammaJitter', 'JPEGArtefacts',
                                  'StainNormalization'])
def test_behind_a_transform_that_returns_floats_the_message_says_what_to_do(name):
    sample = TRANSFORMS.build(dict(type='PhotoMetricDistortion'))(make_sample())
    transform = TRANSFORMS.build(dict(type=name) | (dict() if name == 'StainNormalization' else dict(prob=1)))
    with pytest.raises(ValueError, match=f'{name} needs .* uint8 .* before'):
        transform(sample)
