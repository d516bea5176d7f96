"""Elastic deformation and scale jitter: masks and boxes that fit the pixels, statistics, limits."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from support.synthetic_data import discs

from mmcell.masks.elastic import deform_labels, draw_field, field_points
from mmcell.masks.label_map_masks import LabelMapMasks

LAYERS = [discs((60, 90), [(1, 10, 10, 9), (2, 40, 20, 9), (3, 50, 80, 14), (4, 2, 60, 5)]),
          discs((60, 90), [(1, 14, 14, 8), (2, 40, 60, 6)])]


def painted_sample(kind='label maps'):
    """A sample in which the cells of each layer are white in a channel, and dark in the others."""
    masks = LabelMapMasks.from_label_maps(LAYERS)
    image = np.stack([*(layer > 0 for layer in LAYERS), LAYERS[0] == 2], axis=-1).astype(np.uint8) * 255
    boxes = masks.get_bboxes()
    if kind == 'bitmaps':
        masks = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    return dict(img=image, img_shape=image.shape[:2], gt_masks=masks, gt_bboxes=boxes,
                gt_bboxes_labels=np.arange(6), gt_ignore_flags=np.arange(6) == 3)


def assert_true_to_the_pixels(results, tolerance):
    """Masks cover what is at least half white, boxes are tight, and labels belong to the cells."""
    image, bitmaps = results['img'], results['gt_masks'].to_ndarray() > 0
    assert bitmaps.shape[1:] == image.shape[:2] == results['img_shape']
    labels = results['gt_bboxes_labels']
    assert len(labels) == len(bitmaps) == len(results['gt_bboxes']) == len(results['gt_ignore_flags'])
    assert results['gt_ignore_flags'].tolist() == (labels == 3).tolist()
    for channel, members in ((0, labels < 4), (1, labels >= 4), (2, labels == 1)):
        covered = bitmaps[members].any(axis=0)
        assert (image[..., channel][covered] >= 127 - tolerance).all()
        assert (image[..., channel][~covered] <= 128 + tolerance).all()
    for bitmap, box in zip(bitmaps, results['gt_bboxes'].tensor.tolist(), strict=True):
        y, x = np.nonzero(bitmap)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize('kind', ['label maps', 'bitmaps'])
@pytest.mark.parametrize(('sigma', 'amplitude'), [(24, 8), (8, 2), (1, .3)])
def test_elastic_masks_and_boxes_stay_true_to_the_pixels(kind, sigma, amplitude):
    transform = TRANSFORMS.build(
        dict(type='ElasticDeformation', sigma_px=sigma, amplitude_px=amplitude, prob=1))
    for seed in range(5):
        outputs = []
        for _ in range(2):
            np.random.seed(seed)
            outputs.append(transform(painted_sample(kind)))
        np.testing.assert_array_equal(outputs[0]['img'], outputs[1]['img'])
        np.testing.assert_array_equal(outputs[0]['gt_masks'].to_ndarray(), outputs[1]['gt_masks'].to_ndarray())
        assert type(outputs[0]['gt_masks']) is (LabelMapMasks if kind == 'label maps' else BitmapMasks)
        assert (outputs[0]['img'] != painted_sample()['img']).any()
        assert_true_to_the_pixels(outputs[0], tolerance=1)


@pytest.mark.parametrize('sigma', [1, 6, 16])
def test_field_has_the_stated_amplitude_and_correlation(sigma):
    side = 20 * sigma + 40
    fields = np.stack([draw_field((side, side + 7), sigma, 3, np.random.default_rng(seed)) for seed in range(40)])
    assert fields.dtype == np.float32 and fields.shape[1:] == (side, side + 7, 2)
    assert fields.std() == pytest.approx(3, rel=.05)
    # The border varies as much as the middle.
    assert fields[:, 0].std() == pytest.approx(3, rel=.12)
    assert abs(np.corrcoef(fields[..., 0].ravel(), fields[..., 1].ravel())[0, 1]) < .06
    for distance in (sigma, 2 * sigma):
        correlation = (fields[:, distance:] * fields[:, :-distance]).mean() / (fields ** 2).mean()
        assert correlation == pytest.approx(np.exp(-distance ** 2 / (4 * sigma ** 2)), abs=.06)


def test_no_displacement_gives_the_sample_back():
    results = TRANSFORMS.build(dict(type='ElasticDeformation', amplitude_px=0, prob=1))(painted_sample())
    np.testing.assert_array_equal(results['img'], painted_sample()['img'])
    np.testing.assert_array_equal(results['gt_masks'].layers, np.stack(LAYERS))


def test_a_cell_that_breaks_stays_one_instance_and_a_lost_cell_is_dropped():
    layer = np.zeros((9, 30), np.int32)
    layer[4, 5:25], layer[8, 29] = 1, 2
    # The middle of the long cell comes from the rows above it, and everything else from one row and column before it.
    field = np.full((9, 30, 2), -1, np.float32)
    field[:, 12:15] = 0, -4
    deformed = deform_labels(layer, field_points(field))
    masks = LabelMapMasks.from_label_maps([layer]).deform(field_points(field))
    np.testing.assert_array_equal(masks.layers[0], deformed)
    assert masks.areas.tolist() == [20, 0]
    assert (deformed[8, 12:15] == 1).all() and (deformed[5, 6:12] == 1).all() and not deformed[5, 12:15].any()


JITTER = dict(type='ScaleJitterCrop', crop_size=(40, 32), ratio_range=(.5, 2))


@pytest.mark.parametrize('kind', ['label maps', 'bitmaps'])
def test_scaled_masks_and_boxes_stay_true_to_the_pixels(kind):
    transform = TRANSFORMS.build(JITTER)
    for seed in range(40):
        np.random.seed(seed)
        results = transform(painted_sample(kind))
        height, width = results['img_shape']
        assert height <= 32 and width <= 40
        scale = results['homography_matrix'][[0, 1], [0, 1]]
        assert scale.min() > .45 and scale.max() < 2.1 and abs(scale[0] / scale[1] - 1) < .07
        # Only shrunken images are averages of areas instead of single points, in which an outline can differ.
        bitmaps = results['gt_masks'].to_ndarray() > 0
        if scale.min() >= 1:
            assert_true_to_the_pixels(results, tolerance=1)
        for channel, members in ((0, results['gt_bboxes_labels'] < 4), (1, results['gt_bboxes_labels'] >= 4)):
            covered = bitmaps[members].any(axis=0)
            differs = covered != (results['img'][..., channel] >= 128)
            assert differs.mean() < .04
            assert not differs[(results['img'][..., channel] == 255) | (results['img'][..., channel] == 0)].any()


def test_scale_of_one_is_a_crop():
    transform = TRANSFORMS.build(JITTER | dict(ratio_range=(1, 1)))
    for seed in range(20):
        np.random.seed(seed)
        results = transform(painted_sample())
        left, top = -results['homography_matrix'][:2, 2].astype(int)
        assert results['img_shape'] == (32, 40)
        np.testing.assert_array_equal(results['img'], painted_sample()['img'][top:top + 32, left:left + 40])
        np.testing.assert_array_equal(results['gt_masks'].layers, np.stack(LAYERS)[:, top:top + 32, left:left + 40])


def test_windows_contain_a_cell_unless_they_lie_anywhere():
    layer = np.zeros((400, 400), np.int32)
    layer[300:306, 70:76] = 1
    seen = {}
    for fraction in (0, 1):
        transform = TRANSFORMS.build(JITTER | dict(uniform_fraction=fraction))
        counts = []
        for seed in range(60):
            np.random.seed(seed)
            masks = LabelMapMasks.from_label_maps([layer])
            counts.append(len(transform(dict(img=np.zeros((400, 400, 3), np.uint8), gt_masks=masks,
                                             gt_bboxes=masks.get_bboxes()))['gt_masks']))
        seen[fraction] = np.mean(counts)
    assert seen[0] == 1 and seen[1] < .2


def test_scales_are_drawn_log_uniformly():
    transform = TRANSFORMS.build(JITTER)
    np.random.seed(0)
    logarithms = np.log2([transform._draw_scale() for _ in range(1000)])
    assert -1 <= logarithms.min() < -.98 and .98 < logarithms.max() <= 1 and abs(logarithms.mean()) < .06


def test_small_images_are_not_enlarged_unasked():
    transform = TRANSFORMS.build(JITTER | dict(crop_size=(500, 500), ratio_range=(.5, 1)))
    for seed in range(10):
        np.random.seed(seed)
        height, width = transform(painted_sample())['img_shape']
        assert 30 <= height <= 60 and 45 <= width <= 90


@pytest.mark.parametrize('config', [JITTER, dict(type='ElasticDeformation', prob=1)], ids=lambda c: c['type'])
@pytest.mark.parametrize('shape', [(1, 1), (1, 50), (50, 1), (60, 90)])
def test_images_without_cells_or_masks_and_tiny_images(config, shape):
    transform = TRANSFORMS.build(config)
    assert repr(transform).startswith(config['type'] + '(')
    masks = LabelMapMasks.from_label_maps([np.zeros(shape, np.int32)])
    for _ in range(5):
        sample = dict(img=np.zeros((*shape, 3), np.uint8), img_shape=shape, gt_masks=masks,
                      gt_bboxes=masks.get_bboxes(), gt_bboxes_labels=np.zeros(0, int))
        results = transform(sample)
        assert results['img'].ndim == 3 and min(results['img'].shape) >= 1
        assert results['gt_masks'].layers.shape[1:] == results['img'].shape[:2] == results['img_shape']
        assert len(results['gt_bboxes']) == 0
        assert transform(dict(img=np.zeros((*shape, 3), np.uint8), img_shape=shape))['img'].ndim == 3


@pytest.mark.parametrize('config', [JITTER, dict(type='ElasticDeformation', prob=1)], ids=lambda c: c['type'])
def test_boxes_without_masks_are_refused(config):
    sample = painted_sample()
    del sample['gt_masks']
    with pytest.raises(ValueError, match='load masks'):
        TRANSFORMS.build(config)(sample)


@pytest.mark.parametrize('config', [
    dict(type='ElasticDeformation', sigma_px=9, amplitude_px=4), dict(type='ElasticDeformation', prob=-1),
    JITTER | dict(ratio_range=(2, 1)), JITTER | dict(uniform_fraction=2), JITTER | dict(crop_size=(0, 4))])
def test_values_out_of_range_are_refused(config):
    with pytest.raises(ValueError, match='must be'):
        TRANSFORMS.build(config)
