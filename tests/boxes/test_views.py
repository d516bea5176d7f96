"""Views of images: where pixels, boxes and masks go, and how they come back."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope

from mmcell.boxes.views import (
    View,
    all_views,
    boxes_from_view,
    boxes_to_view,
    masks_from_view,
    matrix_of_meta,
)
from mmcell.errors import MmcellError

SHAPE = 40, 56
ORIENTATIONS = all_views((1.,), (None, 'horizontal', 'vertical', 'diagonal'), (0, 1, 2, 3))


def image_of_box(x_first, y_first, x_last, y_last):
    image = torch.zeros(1, *SHAPE)
    image[0, y_first:y_last, x_first:x_last] = 1
    return image


def box_of(image):
    y, x = image[0].nonzero().unbind(1)
    return torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()[None]


@pytest.mark.parametrize('view', ORIENTATIONS, ids=str)
@pytest.mark.parametrize('scale', [1, 2, .5])
def test_boxes_go_where_the_pixels_go_and_back(view, scale):
    cell = 8, 4, 20, 10
    image, matrix = View(scale, view.flip, view.turns).make(image_of_box(*cell))
    expected = box_of(image > .5)
    assert boxes_to_view(torch.tensor([cell], dtype=torch.float32), matrix).equal(expected)
    assert boxes_from_view(expected, matrix).tolist() == [list(cell)]


@pytest.mark.parametrize('view', ORIENTATIONS, ids=str)
def test_masks_come_back_as_they_were(view):
    mask = torch.arange(20.).view(1, 4, 5)
    view_mask, matrix = view.make(mask)
    assert masks_from_view(view_mask, matrix).equal(mask)


def test_boxes_are_scaled_by_the_factor_of_the_rounded_sides():
    image, matrix = View(.7, None, 1).make(torch.zeros(3, 9, 15))
    assert image.shape == (3, 11, 6)
    assert boxes_to_view(torch.tensor([[0., 0., 15., 9.]]), matrix).tolist() == [[0, 0, 6, 11]]
    assert View(.01).make(torch.zeros(3, 9, 15))[0].shape == (3, 1, 1)


@pytest.mark.parametrize('scale', [1., 1.5, .6])
@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('turns', [0, 1, 2, 3])
def test_transforms_of_a_pipeline_make_the_same_views(scale, flip, turns, rng):
    init_default_scope('mmdet')
    image = rng.random((*SHAPE, 3), np.float32)
    steps = [dict(type='Resize', scale_factor=scale)]
    steps += [dict(type='RandomFlip', prob=1., direction=flip)] * (flip is not None)
    steps += [dict(type='RandomRotate90', prob=1., turns=turns)] * (turns > 0)
    results = Compose([TRANSFORMS.build(step) for step in steps])(
        dict(img=image, img_shape=SHAPE, ori_shape=SHAPE))
    view_image, matrix = View(scale, flip, turns).make(torch.from_numpy(image).permute(2, 0, 1))
    np.testing.assert_allclose(results['img'], view_image.permute(1, 2, 0), atol=1e-3)
    np.testing.assert_allclose(matrix_of_meta(results), matrix, rtol=1e-6)
    assert results['img_shape'] == view_image.shape[1:]


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: View(0.), 'scales of views must be positive'),
    (lambda: View(1., 'left'), "flips of views .* got 'left'"),
    (lambda: View(1., None, 4), 'turns of views'),
    (lambda: all_views((), (None,), (0,)), 'no views'),
    (lambda: boxes_to_view(torch.zeros(1, 4), np.array([[.8, .6, 0], [-.6, .8, 0], [0, 0, 1]])), 'turned by quarters'),
    (lambda: matrix_of_meta(dict(img_shape=(4, 5), ori_shape=(4, 5), flip=True)), 'homography_matrix'),
    (lambda: matrix_of_meta(dict(img_shape=(8, 10), ori_shape=(4, 5))), 'homography_matrix')])
def test_impossible_views_are_refused(make, message):
    with pytest.raises(MmcellError, match=message):
        make()
