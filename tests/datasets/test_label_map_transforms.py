"""MMDetection's own transforms give the same sample with LabelMapMasks as with bitmaps, for the same seed."""

import random

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import init_default_scope
from support.synthetic_data import discs

from mmcell.masks.label_map_masks import LabelMapMasks

LABEL_MAPS = [discs((60, 80), [(2, 10, 10, 9), (5, 10, 28, 9), (70000, 30, 20, 12), (9, 50, 70, 14), (12, 2, 60, 5)]),
              discs((60, 80), [(1, 14, 14, 8), (3, 40, 60, 6)])]

EXACT = {
    'keep the ratio': [dict(type='Resize', scale=(200, 100), keep_ratio=True)],
    'other ratio': [dict(type='Resize', scale=(51, 77), keep_ratio=False)],
    'random size': [dict(type='RandomResize', scale=[(200, 60), (50, 40)], keep_ratio=True)],
    'random choice of sizes': [dict(type='RandomChoiceResize', scales=[(50, 50), (90, 120)], keep_ratio=True)],
    'flip': [dict(type='RandomFlip', prob=1., direction='horizontal')],
    'flip upside down': [dict(type='RandomFlip', prob=1., direction='vertical')],
    'flip both': [dict(type='RandomFlip', prob=1., direction='diagonal')],
    'any flip': [dict(type='RandomFlip', prob=[.3, .3, .3], direction=['horizontal', 'vertical', 'diagonal'])],
    'crop': [dict(type='RandomCrop', crop_size=(30, 40))],
    'crop, boxes from masks': [dict(type='RandomCrop', crop_size=(.5, .6), crop_type='relative', recompute_bbox=True)],
    'crop of another size': [dict(type='RandomCrop', crop_size=(20, 30), crop_type='absolute_range')],
    'small crop': [dict(type='MinIoURandomCrop')],
    'pad': [dict(type='Pad', size=(100, 90))],
    'pad to a multiple': [dict(type='Pad', size_divisor=32)],
    'pad to a square': [dict(type='Pad', pad_to_square=True)],
    'expand': [dict(type='Expand', ratio_range=(1.5, 2))],
    'colours': [dict(type='PhotoMetricDistortion')],
    'filter': [dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1), by_mask=True, min_gt_mask_area=200)],
    'rotate, nearest': [dict(type='Rotate', prob=1., interpolation='nearest')],
    'shear x, nearest': [dict(type='ShearX', prob=1., interpolation='nearest')],
    'shear y, nearest': [dict(type='ShearY', prob=1., interpolation='nearest')],
    'translate x, nearest': [dict(type='TranslateX', prob=1., interpolation='nearest')],
    'translate y, nearest': [dict(type='TranslateY', prob=1., interpolation='nearest')],
    'all': [dict(type='RandomResize', scale=[(200, 60), (50, 40)], keep_ratio=True),
            dict(type='RandomFlip', prob=.5), dict(type='RandomCrop', crop_size=(30, 40)),
            dict(type='FilterAnnotations', by_mask=True), dict(type='Pad', size_divisor=16)],
}
INTERPOLATING = ['Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY']


def sample(masks):
    boxes = BitmapMasks(masks.to_ndarray(), masks.height, masks.width).get_bboxes('hbox')
    image = np.random.default_rng(0).integers(0, 255, (masks.height, masks.width, 3), dtype=np.uint8)
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], img_id=1, img_path='a.tif',
                gt_masks=masks, gt_bboxes=HorizontalBoxes(boxes.tensor.clone()),
                gt_bboxes_labels=np.arange(len(masks)), gt_ignore_flags=np.arange(len(masks)) % 3 == 2)


def run(steps, masks, seed):
    init_default_scope('mmdet')
    results = sample(masks)
    np.random.seed(seed)
    random.seed(seed)
    for step in [*steps, dict(type='PackDetInputs')]:
        results = TRANSFORMS.build(step)(results)
        if results is None:
            return None
    return results


def run_with_both_kinds(steps, seed, masks):
    """The sample with LabelMapMasks, and the sample with BitmapMasks."""
    bitmaps = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    return run(steps, masks, seed), run(steps, bitmaps, seed)


def assert_same_sample(ours, stock, compare_masks):
    assert (ours is None) == (stock is None)
    if ours is None:
        return
    assert ours['inputs'].equal(stock['inputs'])
    for key in ('gt_instances', 'ignored_instances'):
        actual, expected = getattr(ours['data_samples'], key), getattr(stock['data_samples'], key)
        assert actual.labels.tolist() == expected.labels.tolist()
        np.testing.assert_array_equal(actual.bboxes.tensor, expected.bboxes.tensor)
        assert isinstance(actual.masks, LabelMapMasks)
        assert (actual.masks.height, actual.masks.width) == (expected.masks.height, expected.masks.width)
        compare_masks(actual.masks.to_ndarray(), expected.masks.to_ndarray())
    assert ours['data_samples'].metainfo.keys() == stock['data_samples'].metainfo.keys()


def assert_equal_except_at_outlines(actual, expected):
    kernel = np.ones((3, 3), np.uint8)
    is_outline = np.array([cv2.dilate(bitmap, kernel) != cv2.erode(bitmap, kernel) for bitmap in expected], bool)
    assert not ((actual != expected) & ~is_outline.reshape(actual.shape)).any()


@pytest.fixture(params=['two layers', 'no instance'])
def masks(request):
    masks = LabelMapMasks.from_label_maps(LABEL_MAPS)
    return masks if request.param == 'two layers' else masks[:0]


@pytest.mark.parametrize('name', EXACT)
def test_same_sample(name, masks):
    for seed in range(3):
        assert_same_sample(*run_with_both_kinds(EXACT[name], seed, masks), np.testing.assert_array_equal)


@pytest.mark.parametrize('name', INTERPOLATING)
def test_same_sample_except_at_outlines(name, masks):
    for seed in range(3):
        samples = run_with_both_kinds([dict(type=name, prob=1.)], seed, masks)
        assert_same_sample(*samples, assert_equal_except_at_outlines)


@pytest.mark.parametrize('step', [dict(type='CopyPaste'), dict(type='RandomErasing', n_patches=1, ratio=.3)])
def test_transforms_that_read_bitmaps_fail_loudly(step):
    """CopyPaste, RandomErasing and Albu access .masks; if they did not fail, they would leave outdated masks."""
    masks = LabelMapMasks.from_label_maps(LABEL_MAPS)
    transform = TRANSFORMS.build(dict(step, _scope_='mmdet'))
    results = sample(masks)
    results['mix_results'] = [sample(masks)]
    with pytest.raises(AttributeError, match='has no .masks'):
        transform(results)
