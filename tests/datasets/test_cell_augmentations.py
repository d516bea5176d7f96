"""Each augmentation is compared with the same operation on one bitmap after another."""

import pickle
from collections import Counter

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.datasets import MultiImageMixDataset
from mmdet.datasets.transforms import CopyPaste, Mosaic, RandomAffine, RandomErasing
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from mmcell.datasets import CellAffine, CellCopyPaste, CellErasing, CellMosaic, RandomRotate90, SeededSampler
from mmcell.datasets.instances import to_label_map_masks
from mmcell.framework.randomness import SeededIndex
from mmcell.masks.label_map_masks import LabelMapMasks

SHAPES = [(50, 64), (64, 50), (33, 33), (20, 90), (1, 90), (80, 1), (1, 1), (3, 2)]
SEEDS = range(16)
KINDS = {'label maps': LabelMapMasks.from_bitmaps, 'bitmaps': lambda bitmaps: BitmapMasks(bitmaps, *bitmaps.shape[1:])}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def cells(seed, shape=None):
    """(N, H, W) uint8 discs: even seeds overlap, odd seeds touch; the frame cuts some. Every seventh seed has none."""
    rng = np.random.default_rng(seed)
    height, width = shape or SHAPES[seed % len(SHAPES)]
    yy, xx = np.mgrid[:height, :width]
    bitmaps, taken = [], np.zeros((height, width), bool)
    for _ in range(0 if seed % 7 == 6 else 9):
        y, x, radius = rng.integers(-2, height + 2), rng.integers(-2, width + 2), rng.integers(0, 12)
        bitmap = (yy - y) ** 2 + (xx - x) ** 2 <= radius ** 2
        if seed % 2:
            bitmap &= ~taken
            taken |= bitmap
        if bitmap.any():
            bitmaps.append(bitmap)
    return np.array(bitmaps, np.uint8).reshape(-1, height, width)


def make_sample(bitmaps, kind='label maps', first_label=0):
    """A sample in which each instance has its own label; every third label has the ignore flag."""
    labels = first_label + np.arange(len(bitmaps))
    image = np.random.default_rng(first_label).integers(0, 256, (*bitmaps.shape[1:], 3), dtype=np.uint8)
    return dict(img=image, img_shape=image.shape[:2], gt_masks=KINDS[kind](bitmaps.copy()),
                gt_bboxes=HorizontalBoxes(tight_boxes(bitmaps)), gt_bboxes_labels=labels,
                gt_ignore_flags=labels % 3 == 0)


def tight_boxes(bitmaps):
    boxes = np.zeros((len(bitmaps), 4), np.float32)
    for box, bitmap in zip(boxes, bitmaps, strict=True):
        y, x = np.nonzero(bitmap)
        box[:] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes


def apply(transform, results, seed):
    np.random.seed(seed)
    return transform(results)


def assert_aligned(results, kind):
    """Checks that boxes, labels and flags fit the masks, and the masks the image; returns the bitmaps by label."""
    masks = results['gt_masks']
    assert isinstance(masks, {'label maps': LabelMapMasks, 'bitmaps': BitmapMasks}[kind])
    bitmaps, labels = masks.to_ndarray(), results['gt_bboxes_labels']
    assert results['img'].dtype == np.uint8
    assert results['img'].shape[:2] == tuple(results['img_shape']) == (masks.height, masks.width) == bitmaps.shape[1:]
    assert len(bitmaps) == len(labels) == len(set(labels.tolist()))
    assert bitmaps.any(axis=(1, 2)).all()
    assert type(results['gt_bboxes']) is HorizontalBoxes
    np.testing.assert_array_equal(results['gt_bboxes'].tensor, tight_boxes(bitmaps))
    assert labels.dtype == np.int64 and results['gt_ignore_flags'].dtype == bool
    np.testing.assert_array_equal(results['gt_ignore_flags'], labels % 3 == 0)
    return dict(zip(labels.tolist(), bitmaps, strict=True))


def assert_instances(results, kind, expected):
    """Checks the instances against ``expected``, a dict from label to bitmap in the right order."""
    bitmaps = assert_aligned(results, kind)
    assert list(bitmaps) == list(expected)
    for label, bitmap in expected.items():
        np.testing.assert_array_equal(bitmaps[label], bitmap)


def middle_matrix(matrix, shape, new_shape):
    """The same map, shifted so that without a random shift the middle of the input becomes that of the output."""
    middle, new_middle = ((np.array(size)[::-1] - 1) / 2 for size in (shape, new_shape))
    shifted = matrix.astype(np.float64)
    shifted[:2, 2] += new_middle - matrix[:2, :2] @ middle
    return shifted


# Affine

AFFINE = dict(max_rotate_degree=180, max_translate_ratio=.2, scaling_ratio_range=(.6, 1.6), max_shear_degree=10)


@pytest.mark.parametrize('border', [(0, 0), (5, 12), (-8, -3)])
@pytest.mark.parametrize('centered', [True, False])
def test_affine_warps_each_mask(kind, centered, border):
    n_warped_px = n_vanished = 0
    for seed in SEEDS:
        bitmaps = cells(seed)
        height, width = bitmaps.shape[1:]
        new_shape = height + 2 * border[1], width + 2 * border[0]
        if min(new_shape) < 1:
            continue
        np.random.seed(seed)
        stock = RandomAffine(**AFFINE, border=border)
        matrix = stock._get_random_homography_matrix(*new_shape)
        if centered:
            matrix = middle_matrix(matrix, (height, width), new_shape)
        sample = make_sample(bitmaps, kind)
        image = cv2.warpPerspective(sample['img'], matrix, new_shape[::-1], borderValue=(114, 114, 114))
        results = apply(CellAffine(**AFFINE, border=border, centered=centered), sample, seed)
        # The transform computes its matrix in float32, so that coordinates differ a little.
        assert np.abs(results['img'].astype(int) - image).max() <= 8
        warped_by_label = assert_aligned(results, kind)
        assert set(warped_by_label) <= set(range(len(bitmaps)))
        for label, bitmap in enumerate(bitmaps):
            weights = cv2.warpPerspective(bitmap.astype(np.float32), matrix, new_shape[::-1])
            warped = warped_by_label.get(label, np.zeros(new_shape, np.uint8))
            # OpenCV rounds coordinates to 1/32 px, so that only pixels with a weight near .5 may differ.
            assert (np.abs(weights - .5)[warped != (weights > .5)] < .07).all()
            n_vanished += not weights.any()
            n_warped_px += (weights > .5).sum()
    assert n_warped_px > 500 and n_vanished > 0


@pytest.mark.parametrize('border', [(0, 0), (10, 4)])
def test_affine_gives_the_image_of_the_stock_transform(border):
    for seed in range(8):
        no_instance = {**make_sample(cells(seed)), 'gt_bboxes': HorizontalBoxes(np.zeros((0, 4), np.float32))}
        expected = apply(RandomAffine(border=border), no_instance, seed)
        results = apply(CellAffine(border=border, centered=False), make_sample(cells(seed)), seed)
        np.testing.assert_array_equal(results['img'], expected['img'])


def test_affine_rotates_an_image_about_its_middle():
    bitmaps = cells(0, (40, 41))
    only_rotation = dict(max_translate_ratio=0, scaling_ratio_range=(1, 1), max_shear_degree=0)
    transform = CellAffine(max_rotate_degree=0, **only_rotation)
    transform._get_rotation_matrix = lambda degrees: np.diag([-1, -1, 1]).astype(np.float32)
    results = apply(transform, make_sample(bitmaps), 0)
    assert_instances(results, 'label maps', dict(enumerate(bitmaps[:, ::-1, ::-1])))
    np.testing.assert_array_equal(results['img'], make_sample(bitmaps)['img'][::-1, ::-1])


def test_affine_without_masks_is_the_stock_transform():
    boxes_only = make_sample(cells(0))
    del boxes_only['gt_masks']
    expected = apply(RandomAffine(), pickle.loads(pickle.dumps(boxes_only)), 3)
    results = apply(CellAffine(centered=False), boxes_only, 3)
    assert len(expected['gt_bboxes'])
    assert results['gt_bboxes'].tensor.equal(expected['gt_bboxes'].tensor)


def test_a_border_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r'border=\(-20, -20\) leaves nothing of an image of .* \(30, 60\)'):
        CellAffine(border=(-20, -20))(make_sample(cells(0, (30, 60))))


# Mosaic

def four_samples(seed, kind):
    stacks = [cells(4 * seed + number) for number in range(4)]
    samples = [make_sample(stack, kind, 100 * number) for number, stack in enumerate(stacks)]
    return stacks, {**samples[0], 'mix_results': samples[1:]}


def mosaic_pixels(seed, img_scale, shapes, keep_size, ratios):
    """For each image its (height, width) in the mosaic, and the position (y, x) of its pixel (0, 0) there."""
    np.random.seed(seed)
    np.random.uniform(0, 1)
    center_x, center_y = (int(np.random.uniform(*ratios) * side) for side in img_scale)
    for number, (height, width) in enumerate(shapes):
        if not keep_size:
            factor = min(img_scale[1] / height, img_scale[0] / width)
            height, width = max(int(height * factor), 1), max(int(width * factor), 1)
        yield (height, width), (center_y - height * (number < 2), center_x - width * (number in (0, 2)))


def copy_pixels(source, canvas, offset):
    """Copies ``source`` into ``canvas`` at ``offset`` (y, x); pixels outside the canvas are left out."""
    y, x = np.indices(source.shape[:2]).reshape(2, -1)
    to_y, to_x = y + offset[0], x + offset[1]
    inside = (to_y >= 0) & (to_y < canvas.shape[0]) & (to_x >= 0) & (to_x < canvas.shape[1])
    canvas[to_y[inside], to_x[inside]] = source[y[inside], x[inside]]


@pytest.mark.parametrize('ratios', [(.5, 1.5), (0, 2), (0, 0), (2, 2)])
@pytest.mark.parametrize('keep_size', [True, False])
def test_mosaic_places_each_mask(kind, keep_size, ratios):
    img_scale, n_vanished = (40, 30), 0
    transform = CellMosaic(img_scale=img_scale, center_ratio_range=ratios, keep_size=keep_size)
    for seed in SEEDS:
        stacks, results = four_samples(seed, kind)
        images = [results['img'], *(sample['img'] for sample in results['mix_results'])]
        places = mosaic_pixels(seed, img_scale, [stack.shape[1:] for stack in stacks], keep_size, ratios)
        frame, expected = np.full((60, 80, 3), 114, np.uint8), {}
        for number, (size, offset) in enumerate(places):
            copy_pixels(mmcv.imresize(images[number], size[::-1]), frame, offset)
            bitmaps = [mmcv.imresize(bitmap, size[::-1], interpolation='nearest') for bitmap in stacks[number]]
            canvases = np.zeros((60, 80, len(bitmaps)), np.uint8)
            if bitmaps:
                copy_pixels(np.stack(bitmaps, axis=-1), canvases, offset)
            expected.update((100 * number + label, canvases[..., label]) for label in range(len(bitmaps)))
        results = apply(transform, results, seed)
        np.testing.assert_array_equal(results['img'], frame)
        assert_instances(results, kind, {label: canvas for label, canvas in expected.items() if canvas.any()})
        n_vanished += len(expected) - len(results['gt_masks'])
    assert n_vanished > 0


def test_mosaic_gives_the_image_of_the_stock_transform():
    for seed in range(6):
        results = [four_samples(seed, 'bitmaps')[1] for _ in range(2)]
        for sample in (sample for copy in results for sample in (copy, *copy['mix_results'])):
            sample['img'] = np.resize(sample['img'], (20, 25, 3))
            sample['gt_masks'] = BitmapMasks([], 20, 25)
            sample.update(gt_bboxes=sample['gt_bboxes'][:0], gt_bboxes_labels=sample['gt_bboxes_labels'][:0],
                          gt_ignore_flags=sample['gt_ignore_flags'][:0])
        ours = apply(CellMosaic(img_scale=(32, 24), keep_size=False), results[0], seed)
        stock = apply(Mosaic(img_scale=(32, 24)), results[1], seed)
        np.testing.assert_array_equal(ours['img'], stock['img'])


def test_mosaic_with_a_probability_leaves_some_samples_alone():
    for seed in range(10):
        stacks, results = four_samples(seed, 'label maps')
        np.random.seed(seed)
        is_left_alone = np.random.uniform(0, 1) > .5
        results = apply(CellMosaic(img_scale=(40, 30), prob=.5), results, seed)
        assert (results['img'].shape[:2] == stacks[0].shape[1:]) == is_left_alone
        assert_aligned(results, 'label maps')


def test_mosaic_needs_masks_of_four_samples():
    _, results = four_samples(0, 'label maps')
    del results['mix_results'][1]['gt_masks']
    for broken in (results, make_sample(cells(0)), {**results, 'mix_results': results['mix_results'][:1]}):
        with pytest.raises(ValueError, match='four samples with gt_masks'):
            CellMosaic(img_scale=(40, 30))(broken)


# Copy and paste

def pasted_by_hand(below, above, selected, min_visible):
    """The expected bitmaps by label, and the pixels (H, W) bool that pasted cells cover.

    Cells of the image have labels from 0 and lack their covered pixels; cells of the source have labels from 100.
    """
    framed = np.zeros((len(above), *below.shape[1:]), np.uint8)
    for canvas, bitmap in zip(framed, above, strict=True):
        copy_pixels(bitmap, canvas, (0, 0))
    covered = np.zeros(below.shape[1:], bool)
    for index in selected:
        covered |= framed[index] > 0
    expected = {}
    for label, bitmap in enumerate(below):
        remaining = np.where(covered, 0, bitmap)
        if remaining.any() and remaining.sum() >= min_visible * bitmap.sum():
            expected[label] = remaining
    return {**expected, **{100 + int(index): framed[index] for index in selected if framed[index].any()}}, covered


@pytest.mark.parametrize('min_visible', [0, .3, 1])
@pytest.mark.parametrize('selected', [True, False])
def test_pasted_cells_take_pixels_away(kind, selected, min_visible):
    fates, stock = Counter(), CopyPaste()
    for seed in SEEDS:
        # The two images of every fourth pair have the same size.
        below = cells(seed)
        above = cells(seed + 1, below.shape[1:] if seed % 4 == 0 else SHAPES[(seed * 3 + 1) % 5])
        results, source = make_sample(below, kind), make_sample(above, kind, 100)
        image, source_image = results['img'].copy(), source['img'].copy()
        np.random.seed(seed)
        indices = stock._get_selected_inds(len(above)) if selected else np.arange(len(above))
        expected, covered = pasted_by_hand(below, above, indices, min_visible)
        results['mix_results'] = [source]
        results = apply(CellCopyPaste(min_visible=min_visible, selected=selected), results, seed)
        assert_instances(results, kind, expected)
        y, x = np.nonzero(covered)
        image[y, x] = source_image[y, x]
        np.testing.assert_array_equal(results['img'], image)
        fates['kept'] += sum(label < 100 for label in expected)
        fates['dropped'] += len(below) - sum(label < 100 for label in expected)
        fates['pasted'] += sum(label >= 100 for label in expected)
    assert all(fates[fate] > 5 for fate in ('kept', 'dropped', 'pasted'))


def test_a_cell_stays_if_enough_of_it_is_visible():
    below, above = np.zeros((2, 1, 4, 10), np.uint8)
    below[0, 0], above[0, 0, :7] = 1, 1
    for min_visible, n_expected in ((.3, 2), (.31, 1), (0, 2)):
        results = {**make_sample(below), 'mix_results': [make_sample(above, first_label=100)]}
        assert len(apply(CellCopyPaste(min_visible=min_visible, selected=False), results, 0)['gt_masks']) == n_expected
    above[0, 0] = 1
    results = {**make_sample(below), 'mix_results': [make_sample(above, first_label=100)]}
    assert len(apply(CellCopyPaste(min_visible=0, selected=False), results, 0)['gt_masks']) == 1


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('selected', [True, False])
def test_pasted_boxes_do_not_make_masks(selected):
    below, above = np.zeros((2, 1, 8, 10), np.uint8)
    below[0, 0:4, 0:4], above[0, 2:6, 2:6] = 1, 1
    n_pasted = Counter()
    for seed in range(6):
        results, source = make_sample(below), make_sample(above, first_label=100)
        del results['gt_masks'], source['gt_masks']
        results['gt_bboxes'].tensor[0, 2] = 3.5
        results['mix_results'] = [source]
        results = apply(CellCopyPaste(paste_by_box=True, selected=selected), results, seed)
        assert 'gt_masks' not in results
        n_pasted[len(results['gt_bboxes']) - 1] += 1
        # If nothing is pasted, the boxes stay as they are, without rounding to pixels.
        pasted, unchanged = [[0, 0, 3, 4], [2, 2, 6, 6]], [[0, 0, 3.5, 4]]
        assert results['gt_bboxes'].tensor.tolist() == (pasted if len(results['gt_bboxes']) > 1 else unchanged)
    assert set(n_pasted) == ({0, 1} if selected else {1})


# Erasing

def erased_by_hand(bitmaps, patches, threshold):
    expected = {}
    for label, bitmap in enumerate(bitmaps):
        remaining = bitmap.copy()
        for x1, y1, x2, y2 in patches:
            remaining[y1:y2, x1:x2] = 0
        if remaining.any() and bitmap.sum() - remaining.sum() < threshold * bitmap.sum():
            expected[label] = remaining
    return expected


@pytest.mark.parametrize('arguments', [
    dict(n_patches=3, ratio=.4), dict(n_patches=(0, 5), ratio=(0., .6), squared=False),
    dict(n_patches=2, ratio=(.3, .9), bbox_erased_thr=.2), dict(n_patches=2, ratio=(.3, .9), bbox_erased_thr=2)])
def test_erased_pixels_leave_the_masks(kind, arguments):
    n_dropped = n_smaller = 0
    stock = RandomErasing(**arguments)
    for seed in SEEDS:
        bitmaps = cells(seed)
        sample = make_sample(bitmaps, kind)
        image = sample['img'].copy()
        np.random.seed(seed)
        patches = stock._get_patches(bitmaps.shape[1:])
        expected = erased_by_hand(bitmaps, patches, arguments.get('bbox_erased_thr', .9))
        for x1, y1, x2, y2 in patches:
            image[y1:y2, x1:x2] = 128
        results = apply(CellErasing(**arguments), sample, seed)
        assert_instances(results, kind, expected)
        np.testing.assert_array_equal(results['img'], image)
        n_dropped += len(bitmaps) - len(expected)
        n_smaller += sum(remaining.sum() < bitmaps[label].sum() for label, remaining in expected.items())
    assert n_dropped > 3 and n_smaller > 3


@pytest.mark.parametrize('shape', SHAPES)
def test_a_patch_of_the_whole_image_leaves_nothing(kind, shape):
    bitmaps = np.ones((2, *shape), np.uint8)
    results = apply(CellErasing(n_patches=1, ratio=1.), make_sample(bitmaps, kind), 0)
    assert_instances(results, kind, {})
    assert (results['img'] == 128).all()


def test_erasing_without_masks_is_the_stock_transform():
    for seed in range(5):
        samples = [make_sample(cells(seed)) for _ in range(2)]
        for sample in samples:
            del sample['gt_masks']
        arguments = dict(n_patches=2, ratio=.5, bbox_erased_thr=.5)
        ours = apply(CellErasing(**arguments), samples[0], seed)
        stock = apply(RandomErasing(**arguments), samples[1], seed)
        assert ours['gt_bboxes'].tensor.equal(stock['gt_bboxes'].tensor)
        assert ours['gt_bboxes_labels'].tolist() == stock['gt_bboxes_labels'].tolist()


# Quarter turns

@pytest.mark.parametrize('shape', SHAPES)
def test_quarter_turns_rotate_image_masks_and_segmentation(kind, shape):
    drawn_turns = set()
    for seed in SEEDS:
        bitmaps = cells(seed, shape)
        sample = make_sample(bitmaps, kind)
        image, sample['gt_seg_map'] = sample['img'], sample['img'][..., 0]
        results = apply(RandomRotate90(), sample, seed)
        turns = next(k for k in range(4) if np.array_equal(results['img'], np.rot90(image, k)))
        drawn_turns.add(turns)
        assert_instances(results, kind, {i: np.rot90(bitmap, turns) for i, bitmap in enumerate(bitmaps)})
        np.testing.assert_array_equal(results['gt_seg_map'], results['img'][..., 0])
        assert results['img'].flags['C_CONTIGUOUS']
    assert drawn_turns == {0, 1, 2, 3} or min(shape) == 1


def test_quarter_turns_without_masks_turn_the_boxes():
    for seed in SEEDS:
        bitmaps = cells(seed)
        sample = make_sample(bitmaps)
        with_masks = apply(RandomRotate90(1.), dict(sample), seed)
        del sample['gt_masks']
        np.testing.assert_array_equal(apply(RandomRotate90(1.), sample, seed)['gt_bboxes'].tensor,
                                      tight_boxes(with_masks['gt_masks'].to_ndarray()))


@pytest.mark.parametrize(('build', 'message'), [
    (lambda: RandomRotate90(1.5), 'prob must be'),
    (lambda: RandomRotate90(turns=4), 'turns must be one or several of 1, 2, 3'),
    (lambda: CellErasing(n_patches=1, ratio=1.5), 'ratio must be between 0 and 1'),
    (lambda: CellErasing(n_patches=1, ratio=.5, mask_border_value=1), 'mask_border_value must be 0'),
    (lambda: CellCopyPaste(min_visible=30), 'min_visible must be between 0 and 1')])
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# What all augmentations have in common

ALL = [dict(type='CellMosaic', img_scale=(40, 30)), dict(type='CellCopyPaste'),
       dict(type='CellAffine', max_rotate_degree=180, border=(-15, -10)),
       dict(type='CellErasing', n_patches=(1, 3), ratio=(.1, .3))]


@pytest.mark.parametrize('arguments', [*ALL, dict(type='RandomRotate90')], ids=lambda arguments: arguments['type'])
def test_the_same_seed_gives_the_same_sample_and_inputs_are_not_changed(kind, arguments):
    transform = TRANSFORMS.build(dict(arguments, _scope_='mmdet'))
    assert repr(transform).startswith(f'{arguments["type"]}(') and repr(transform).endswith(')')
    outcomes = []
    for seed in (5, 5, 6):
        _, results = four_samples(0, kind)
        if arguments['type'] == 'CellCopyPaste':
            results['mix_results'] = results['mix_results'][:1]
        bitmaps = results['gt_masks']
        before = bitmaps.to_ndarray().copy()
        outcomes.append(apply(pickle.loads(pickle.dumps(transform)), results, seed))
        np.testing.assert_array_equal(bitmaps.to_ndarray(), before)
    first, again, other = outcomes
    np.testing.assert_array_equal(first['img'], again['img'])
    np.testing.assert_array_equal(first['gt_masks'].to_ndarray(), again['gt_masks'].to_ndarray())
    assert not np.array_equal(first['img'], other['img'])


def test_boxes_that_are_arrays_stay_arrays():
    for arguments in ALL:
        _, results = four_samples(0, 'label maps')
        if arguments['type'] == 'CellCopyPaste':
            results['mix_results'] = results['mix_results'][:1]
        for sample in (results, *results['mix_results']):
            sample['gt_bboxes'] = sample['gt_bboxes'].numpy()
        results = apply(TRANSFORMS.build(dict(arguments, _scope_='mmdet')), results, 1)
        assert isinstance(results['gt_bboxes'], np.ndarray)
        np.testing.assert_array_equal(results['gt_bboxes'], tight_boxes(results['gt_masks'].to_ndarray()))


def test_polygons_are_refused():
    with pytest.raises(TypeError, match='LabelMapMasks or BitmapMasks, got PolygonMasks.*poly2mask'):
        to_label_map_masks(PolygonMasks([[np.array([0, 0, 3, 0, 3, 3])]], 5, 5))


def to_label_maps(results):
    results['gt_masks'] = LabelMapMasks.from_bitmaps(results['gt_masks'])
    return results


@pytest.fixture
def dataset(annotation_file, kind):
    """A data set of two images of different sizes."""
    pipeline = [dict(type='mmdet.LoadTiff'), dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
                *([to_label_maps] if kind == 'label maps' else [])]
    return DATASETS.build(dict(type='mmdet.CellDataset', ann_file=str(annotation_file), pipeline=pipeline))


def mixed(dataset, kind='MultiImageMixDataset'):
    pipeline = [dict(step, _scope_='mmdet') for step in (*ALL, dict(type='PackCellInputs'))]
    return DATASETS.build(dict(type=kind, dataset=dataset, pipeline=pipeline, _scope_='mmdet'))


def packed(sample):
    instances = sample['data_samples'].gt_instances
    return sample['inputs'], instances.masks.to_ndarray(), instances.labels.tolist(), instances.bboxes.tensor.tolist()


def test_in_a_data_set_of_mixed_images(dataset):
    mixed_dataset = mixed(dataset)
    assert type(mixed_dataset) is MultiImageMixDataset
    n_instances = 0
    for seed in range(12):
        np.random.seed(seed)
        sample = mixed_dataset[seed % 2]
        instances = sample['data_samples'].gt_instances
        assert sample['inputs'].shape == (3, 40, 50)
        assert sample['data_samples'].img_shape == (40, 50)
        np.testing.assert_array_equal(instances.bboxes.tensor, tight_boxes(instances.masks.to_ndarray()))
        assert len(instances.labels) == len(instances.masks)
        n_instances += len(instances)
    assert n_instances > 12


@pytest.mark.parametrize('transform', [CellMosaic(img_scale=(40, 30)), CellCopyPaste()])
def test_every_other_image_is_drawn_equally_often(transform):
    class Images(BaseDataset):
        def load_data_list(self):
            return [dict(name=name) for name in 'abc']

    images = Images()
    np.random.seed(0)
    drawn = Counter(np.ravel([transform.get_indexes(images) for _ in range(3000)]).tolist())
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > .9 * max(drawn.values())


@pytest.mark.parametrize('kind', ['label maps'])
def test_mixed_samples_depend_only_on_the_seed_of_their_index(dataset):
    mixed_dataset = mixed(dataset, 'CellMixDataset')
    expected = [packed(mixed_dataset[index]) for index in SeededSampler(dataset, times=3, seed=4)]
    np.random.seed(99)
    loader = DataLoader(mixed_dataset, sampler=SeededSampler(dataset, times=3, seed=4), num_workers=2,
                        collate_fn=lambda samples: packed(samples[0]))
    for from_worker, expected_sample in zip(loader, expected, strict=True):
        assert from_worker[0].equal(expected_sample[0])
        np.testing.assert_array_equal(from_worker[1], expected_sample[1])
        assert from_worker[2:] == expected_sample[2:]
    assert not packed(mixed_dataset[SeededIndex(0, 1)])[0].equal(packed(mixed_dataset[SeededIndex(0, 2)])[0])
    state = np.random.get_state()[1].copy()
    mixed_dataset[SeededIndex(0, 1)]
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize('kind', ['bitmaps'])
def test_a_mix_does_not_repeat_the_draws_of_its_first_image(dataset):
    dataset.pipeline.transforms.append(lambda results: {**results, 'drawn': np.random.rand()})
    erasing = dict(type='CellErasing', n_patches=1, ratio=(.2, .8), _scope_='mmdet')
    mixed_dataset = DATASETS.build(dict(type='CellMixDataset', dataset=dataset, pipeline=[erasing], _scope_='mmdet'))
    mixed_sample = mixed_dataset[SeededIndex(0, 7)]
    np.random.seed(7)
    expected = TRANSFORMS.build(erasing)(dataset[0])
    assert mixed_sample['drawn'] == expected['drawn']
    np.testing.assert_array_equal(mixed_sample['img'], expected['img'])
