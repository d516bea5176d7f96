"""Crops around cells of rare classes: where windows lie, how often, and masks and boxes that fit the pixels."""

from collections import Counter

import numpy as np
import pytest
from mmdet.datasets.transforms import RandomCrop
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from scipy.stats import chisquare
from support.synthetic_data import discs

from mmcell.datasets import ClassBalancedCrop
from mmcell.datasets.class_crops import draw_cell, draw_window_start
from mmcell.masks.label_map_masks import LabelMapMasks

# Two layers, in which discs overlap and reach over the border, and their classes.
LAYERS = [discs((60, 90), [(2, 10, 10, 9), (5, 10, 28, 9), (9, 50, 80, 14), (12, 2, 60, 5)]),
          discs((60, 90), [(1, 14, 14, 8), (3, 40, 60, 6)])]
LABELS = np.array([0, 0, 2, 0, 1, 0])


def painted_sample(kind='label maps'):
    """A sample whose image has a colour for every combination of cells: the ids in both layers."""
    masks = LabelMapMasks.from_label_maps(LAYERS)
    image = np.stack([*LAYERS, LAYERS[0] > 0], axis=-1).astype(np.uint8)
    boxes = masks.get_bboxes()
    if kind == 'bitmaps':
        masks = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    return dict(img=image, img_shape=image.shape[:2], gt_masks=masks, gt_bboxes=boxes, gt_bboxes_labels=LABELS.copy(),
                gt_ignore_flags=np.arange(6) == 3, gt_seg_map=image[..., 0].copy())


def assert_true_to_the_pixels(results):
    """Each cell covers exactly the pixels of its colour, and its box is tight."""
    image, bitmaps = results['img'], results['gt_masks'].to_ndarray()
    assert bitmaps.shape[1:] == image.shape[:2] == results['img_shape']
    ids = [(0, 2), (0, 5), (0, 9), (0, 12), (1, 1), (1, 3)]
    visible = [index for index, (layer, cell_id) in enumerate(ids) if (image[..., layer] == cell_id).any()]
    assert len(visible) == len(bitmaps) == len(results['gt_bboxes'])
    assert results['gt_bboxes_labels'].tolist() == LABELS[visible].tolist()
    assert results['gt_ignore_flags'].tolist() == [index == 3 for index in visible]
    for index, bitmap, box in zip(visible, bitmaps, results['gt_bboxes'].tensor.tolist(), strict=True):
        layer, cell_id = ids[index]
        np.testing.assert_array_equal(bitmap > 0, image[..., layer] == cell_id)
        y, x = np.nonzero(bitmap)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    np.testing.assert_array_equal(results['gt_seg_map'], image[..., 0])


@pytest.mark.parametrize('kind', ['label maps', 'bitmaps'])
@pytest.mark.parametrize('crop_size', [(30, 20), (200, 20), (30, 200), (200, 200), (1, 1)])
def test_masks_and_boxes_stay_true_to_the_pixels(kind, crop_size):
    transform = ClassBalancedCrop(crop_size)
    assert repr(transform).startswith('ClassBalancedCrop(crop_size=')
    places = set()
    for seed in range(40):
        np.random.seed(seed)
        sample = painted_sample(kind)
        whole = sample['img'].copy()
        results = transform(sample)
        assert results['img'].shape[:2] == (min(crop_size[1], 60), min(crop_size[0], 90))
        assert type(results['gt_masks']) is (LabelMapMasks if kind == 'label maps' else BitmapMasks)
        assert_true_to_the_pixels(results)
        left, top = -results['homography_matrix'][:2, 2].astype(int)
        height, width = results['img_shape']
        np.testing.assert_array_equal(results['img'], whole[top:top + height, left:left + width])
        places.add((left, top))
    assert len(places) > 5 or min(crop_size) == 200


def test_windows_contain_their_interval_and_every_window_is_equally_probable():
    np.random.seed(0)
    starts = Counter(draw_window_start(30, 40, 25, 100) for _ in range(4000))
    assert set(starts) == set(range(15, 31))
    assert chisquare(list(starts.values())).pvalue > .001
    # A box that is larger than the window is filled by it.
    assert {draw_window_start(30, 70, 25, 100) for _ in range(2000)} == set(range(30, 46))
    # At the borders of the image.
    assert {draw_window_start(0, 10, 25, 100) for _ in range(20)} == {0}
    assert {draw_window_start(95, 100, 25, 100) for _ in range(20)} == {75}
    assert {draw_window_start(3, 9, 25, 28) for _ in range(200)} == {0, 1, 2, 3}
    assert {draw_window_start(3, 9, 28, 28) for _ in range(20)} == {0}
    assert {draw_window_start(2.5, 9.5, 8, 28) for _ in range(200)} == {2}


def test_windows_without_a_cell_are_half_as_probable_as_without_the_transform():
    np.random.seed(0)
    transform, box, label = ClassBalancedCrop((1, 20)), np.array([[0., 0, 5, 1]]), np.array([0])
    starts = Counter(transform._draw_corner(box, label, (1, 100), (1, 20))[1] for _ in range(8100))
    # Of 81 windows, only the first contains the cell. Without the transform, each would be drawn 100 times.
    others = [starts[start] for start in range(1, 81)]
    assert np.mean(others) == pytest.approx(50, abs=1) and chisquare(others).pvalue > .001
    assert sum(others) + starts[0] == 8100


@pytest.mark.parametrize('weights, expected', [
    (None, [1 / 12, 1 / 12, 1 / 3, 1 / 12, 1 / 3, 1 / 12]), ([0, 1, 3], [0, 0, .75, 0, .25, 0]),
    ([1, 0, 0], [.25, .25, 0, .25, 0, .25])])
def test_classes_are_drawn_by_weight_and_cells_of_a_class_equally(weights, expected):
    np.random.seed(1)
    drawn = np.bincount([draw_cell(LABELS, weights) for _ in range(6000)], minlength=6)
    expected = np.array(expected)
    assert (drawn[expected == 0] == 0).all()
    assert chisquare(drawn[expected > 0], 6000 * expected[expected > 0]).pvalue > .001


def test_without_a_cell_to_choose_the_crop_lies_anywhere():
    assert draw_cell(np.zeros(0, int)) is None and draw_cell(np.array([0, 0]), [0, 1]) is None
    sample = painted_sample()
    empty = dict(sample, gt_masks=sample['gt_masks'][:0], gt_bboxes=HorizontalBoxes(np.zeros((0, 4), np.float32)),
                 gt_bboxes_labels=LABELS[:0], gt_ignore_flags=np.zeros(0, bool))
    lefts = set()
    for seed in range(60):
        np.random.seed(seed)
        results = ClassBalancedCrop((30, 20), uniform_fraction=0.)(dict(empty))
        assert len(results['gt_masks']) == 0 and results['img'].shape == (20, 30, 3)
        lefts.add(-results['homography_matrix'][0, 2])
    assert len(lefts) > 30


@pytest.mark.parametrize('fraction', [0., .5, 1.])
def test_a_rare_class_is_seen_more_often(fraction):
    """One of 300 cells of the image has the rare class. Its class is drawn in one of three crops."""
    n_cells, n_crops = 300, 1500
    map_ids = np.zeros((300, 300), np.int32)
    map_ids[:300:10, :100:10] = np.arange(1, n_cells + 1).reshape(30, 10)
    labels = np.where(np.arange(n_cells) == 155, 1, np.where(np.arange(n_cells) % 2, 2, 0))
    masks = LabelMapMasks.from_label_maps([map_ids])
    boxes = masks.get_bboxes()
    transform = ClassBalancedCrop((300, 30), uniform_fraction=fraction)
    np.random.seed(0)
    n_seen = 0
    for _ in range(n_crops):
        results = transform(dict(img=np.zeros((300, 300, 3), np.uint8), gt_masks=masks, gt_bboxes=boxes,
                                 gt_bboxes_labels=labels))
        n_seen += (results['gt_bboxes_labels'] == 1).any()
    # 30 of the 271 windows contain the cell; other classes show it now and then as well.
    by_chance = 30 / 271
    expected = fraction * by_chance + (1 - fraction) * (1 / 3 + 2 / 3 * by_chance)
    assert abs(n_seen / n_crops - expected) < 4 * (expected * (1 - expected) / n_crops) ** .5


def test_all_uniform_crops_are_distributed_as_those_of_the_stock_transform():
    np.random.seed(3)
    ours = [ClassBalancedCrop((88, 59), uniform_fraction=1.)(painted_sample())['homography_matrix'][:2, 2]
            for _ in range(600)]
    stock = [RandomCrop((88, 59))(painted_sample())['homography_matrix'][:2, 2] for _ in range(50)]
    counts = Counter(map(tuple, np.array(ours).tolist()))
    assert set(counts) >= set(map(tuple, np.array(stock).tolist())) and len(counts) == 6
    assert chisquare(list(counts.values())).pvalue > .001


def test_it_composes_with_transforms_that_scale():
    steps = [dict(type='RandomResize', scale=(90, 60), ratio_range=(.5, 2.), keep_ratio=True),
             dict(type='ClassBalancedCrop', crop_size=(40, 40)), dict(type='Resize', scale=(60, 60), keep_ratio=True)]
    built = [TRANSFORMS.build(dict(step, _scope_='mmdet')) for step in steps]
    for seed in range(10):
        np.random.seed(seed)
        results = painted_sample()
        for transform in built:
            results = transform(results)
        np.testing.assert_allclose(results['gt_bboxes'].tensor, results['gt_masks'].get_bboxes().tensor, atol=2)


@pytest.mark.parametrize('arguments, message', [
    (dict(uniform_fraction=1.5), r'uniform_fraction must be in \[0, 1\], got 1.5'),
    (dict(class_weights=[0, 0]), 'class_weights must be at least 0, and one of them greater'),
    (dict(class_weights=[1, -1]), 'class_weights must be at least 0'),
    (dict(class_weights=[1, 1]), 'class_weights has 2 values, but a cell has the label 2')])
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassBalancedCrop((20, 20), **arguments)(painted_sample())


def test_a_sample_without_masks_is_refused():
    with pytest.raises(ValueError, match='the sample has none: load masks'):
        ClassBalancedCrop((20, 20))(dict(painted_sample(), gt_masks=None))
