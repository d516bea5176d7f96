"""The registered stain normalisation: its targets, its pipelines, and the channel order of files."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope
from support.stains import stained_image

from mmcell.images import stain_normalization as normalization
from mmcell.masks.label_map_masks import LabelMapMasks


@pytest.fixture
def image():
    return stained_image(np.random.default_rng(0))


@pytest.fixture
def target_file(tmp_path):
    """An image file of another stain; returns its path and the image."""
    target = stained_image(np.random.default_rng(1), nuclear_stain=np.array([.5, .8, .5]))
    cv2.imwrite(str(tmp_path / 'target.png'), target[..., ::-1])
    return str(tmp_path / 'target.png'), target


@pytest.fixture(autouse=True)
def mmdet_scope():
    init_default_scope('mmdet')


def build(**arguments):
    return TRANSFORMS.build(dict(type='StainNormalization', **arguments))


@pytest.mark.parametrize(('method', 'normalize', 'measure'), [
    ('macenko', normalization.normalize_stains, normalization.estimate_stains),
    ('reinhard', normalization.normalize_colors, normalization.measure_colors)])
def test_only_the_image_changes_and_targets_can_be_files_or_numbers(method, normalize, measure, image, target_file):
    masks = LabelMapMasks.from_label_maps([np.ones(image.shape[:2], np.int32)])
    sample = dict(img=image, gt_masks=masks, gt_bboxes=masks.get_bboxes())
    results = build(method=method)(dict(sample))
    np.testing.assert_array_equal(results['img'], normalize(image))
    assert {key for key in results if results[key] is not sample[key]} == {'img'}

    path, target = target_file
    from_file = build(method=method, target=path)
    np.testing.assert_array_equal(from_file(dict(img=image))['img'], normalize(image, measure(target)))
    numbers = {name: values.tolist() for name, values in vars(from_file.target).items()}
    np.testing.assert_array_equal(build(method=method, target=numbers)(dict(img=image))['img'],
                                  from_file(dict(img=image))['img'])
    # repr shows these numbers, as a config takes them.
    assert eval(repr(from_file), dict(StainNormalization=dict))['target'].keys() == numbers.keys()


def test_the_target_has_a_channel_order(image, target_file, tmp_path):
    path, target = target_file
    cv2.imwrite(str(tmp_path / 'bgr.png'), target)
    right = build(target=path)(dict(img=image))['img']
    bgr = build(target=str(tmp_path / 'bgr.png'), target_channel_order='bgr')(dict(img=image))['img']
    np.testing.assert_array_equal(right, bgr)


@pytest.mark.parametrize('method', ['macenko', 'reinhard'])
def test_training_and_test_pipelines_give_the_same_image_whatever_the_order_in_the_file(method, image, tmp_path):
    images = []
    for order, stored in (('rgb', image), ('bgr', image[..., ::-1])):
        path = str(tmp_path / f'{order}.png')
        cv2.imwrite(path, stored[..., ::-1])
        for end in ([], [dict(type='RandomFlip', prob=0.)]):
            pipeline = Compose([dict(type='LoadTiff'), dict(type='StainNormalization', method=method), *end])
            images.append(pipeline(dict(img_path=path, channel_order=order))['img'])
    for other in images[1:]:
        np.testing.assert_array_equal(images[0], other)
    assert (images[0] != image).any()


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(method='vahadane'), 'method must be one of'),
    (dict(target=dict(stains=[[1, 0, 0]])), 'keys'),
    (dict(target=dict(stains=[[1, 0], [0, 1]], amounts=[1, 1])), 'must be'),
    (dict(target=dict(stains=[[1, 1, 0], [2, 2, 0]], amounts=[1, 1])), 'two different directions'),
    (dict(target=dict(stains=[[1, 1, 0], [0, 2, 0]], amounts=[1, 0])), 'above 0'),
    (dict(method='reinhard', target=dict(means=[1, 2, 3], deviations=[0, 1, 1])), 'above 0')])
def test_wrong_targets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_a_target_without_stains_is_refused(tmp_path):
    path = str(tmp_path / 'white.png')
    cv2.imwrite(path, np.full((20, 20, 3), 255, np.uint8))
    with pytest.raises(ValueError, match='no stains were found'):
        build(target=path)
    with pytest.raises(FileNotFoundError):
        build(target=str(tmp_path / 'none.png'))
