import copy
import itertools
import pickle
import tracemalloc

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mmdet.structures.bbox import BaseBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from support.examples import examples
from support.synthetic_data import discs

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.roi_averages import roi_averages


def random_masks(**sizes):
    return LabelMapMasks.from_bitmaps(BitmapMasks.random(**sizes))


def cell_stacks(max_side=20, max_cells=7):
    """Draws bitmaps (N, H, W) uint8: noise, or squares that may touch, overlap, leave the frame, or be empty."""
    def fill(args):
        (height, width), corners = args
        bitmaps = np.zeros((len(corners), height, width), np.uint8)
        for bitmap, (y, x, size) in zip(bitmaps, corners, strict=True):
            bitmap[max(y, 0):max(y + size, 0), max(x, 0):max(x + size, 0)] = 1
        return bitmaps
    sides = st.integers(1, max_side)
    corner = st.tuples(st.integers(-3, max_side), st.integers(-3, max_side), st.sampled_from([0, 1, 1, 2, 3, 5, 9]))
    noise = st.tuples(st.integers(0, max_cells), sides, sides).flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    return st.tuples(st.tuples(sides, sides), st.lists(corner, max_size=max_cells)).map(fill) | noise


@st.composite
def pairs(draw, stacks=None):
    """Draws the same instances as LabelMapMasks and as BitmapMasks.

    The ids of the LabelMapMasks may have gaps, and their layers may contain instances that indexing left out.
    """
    bitmaps = draw(cell_stacks() if stacks is None else stacks)
    masks = LabelMapMasks.from_bitmaps(bitmaps)
    step = draw(st.sampled_from([1, 3, 100_000, 2**27]))
    masks = LabelMapMasks(masks.layers * step, masks.layer_indices, masks.ids * step)
    if draw(st.booleans()):
        index = np.array(draw(st.lists(st.integers(0, len(bitmaps) - 1), max_size=8)) if len(bitmaps) else [], np.int64)
        masks, bitmaps = masks[index], bitmaps[index]
    return masks, BitmapMasks(bitmaps, *bitmaps.shape[1:])


def assert_same(masks, expected):
    """Checks that LabelMapMasks hold the same bitmaps as the expected BitmapMasks."""
    assert isinstance(masks, LabelMapMasks)
    bitmaps = masks.to_ndarray()
    np.testing.assert_array_equal(bitmaps, expected.masks)
    assert bitmaps.dtype == np.uint8
    assert (len(masks), masks.height, masks.width) == (len(expected), expected.height, expected.width)


def outcome(function, masks, *args, **kwargs):
    """Calls a function and returns its result, or the type of the exception that it raised."""
    try:
        return function(masks, *args, **kwargs)
    except (AssertionError, ValueError, TypeError, IndexError) as error:
        return type(error)


def assert_same_outcome(function, masks, bitmaps, *args, **kwargs):
    """Checks that a function gives the same masks, or the same type of exception, for both kinds of masks."""
    expected = outcome(function, bitmaps, *args, **kwargs)
    got = outcome(function, masks, *args, **kwargs)
    if isinstance(expected, BitmapMasks):
        assert_same(got, expected)
    else:
        assert got is expected


def assert_differs_only_at_half(masks, bitmaps, weights, tolerance):
    """Checks that both kinds of masks differ only at pixels where the weight of an instance is close to one half.

    There they may differ, because OpenCV rounds coordinates to 1/32 px.
    """
    got = masks.to_ndarray()
    assert got.shape == bitmaps.masks.shape
    differs = got != bitmaps.masks
    assert (np.abs(np.array(weights).reshape(got.shape)[differs] - .5) < tolerance).all()


# Construction and properties

@given(pairs())
def test_properties_equal_those_of_bitmaps(pair):
    masks, bitmaps = pair
    assert_same(masks, bitmaps)
    assert masks.areas.tolist() == bitmaps.areas.tolist()
    assert masks.areas.dtype == np.zeros((1, 1, 1), np.uint8).sum((1, 2)).dtype
    boxes, expected = masks.get_bboxes(), bitmaps.get_bboxes('hbox')
    assert type(boxes) is type(expected)
    assert boxes.tensor.dtype == expected.tensor.dtype
    np.testing.assert_array_equal(boxes.tensor, expected.tensor)
    assert repr(masks) == repr(bitmaps).replace('BitmapMasks', 'LabelMapMasks')
    for bitmap, expected_bitmap in zip(masks, bitmaps, strict=True):
        np.testing.assert_array_equal(bitmap, expected_bitmap)
    tensor, expected = masks.to_tensor(torch.float32, 'cpu'), bitmaps.to_tensor(torch.float32, 'cpu')
    assert tensor.dtype == expected.dtype and tensor.equal(expected)


@given(pairs())
def test_crops_have_the_place_and_size_of_the_boxes(pair):
    masks, bitmaps = pair
    for (crop, x1, y1), bitmap, box in zip(masks.crops(), bitmaps, masks.get_bboxes().tensor, strict=True):
        assert [x1, y1, x1 + crop.shape[1], y1 + crop.shape[0]] == box.tolist()
        np.testing.assert_array_equal(crop, bitmap[y1:y1 + crop.shape[0], x1:x1 + crop.shape[1]])


def test_overlapping_instances_take_as_few_layers_as_needed():
    bitmaps = np.zeros((4, 6, 6), np.uint8)
    bitmaps[0, :3] = bitmaps[1, 2:5] = bitmaps[2, 4:] = 1
    masks = LabelMapMasks.from_bitmaps(bitmaps)
    assert masks.layers.shape == (2, 6, 6)
    assert masks.layers.dtype == np.int32
    assert_same(masks, BitmapMasks(bitmaps, 6, 6))
    assert len(LabelMapMasks.from_bitmaps(bitmaps[[0, 2, 3]]).layers) == 1


@given(cell_stacks(), st.sampled_from(['compressed', 'bytes', 'listed', 'mixed']))
def test_rles_in_all_forms_are_decoded_into_layers(bitmaps, form):
    rles = []
    for i, bitmap in enumerate(bitmaps):
        rle = pycocotools.mask.encode(np.asfortranarray(bitmap))
        if form == 'listed' or (form == 'mixed' and i % 2):
            column = np.concatenate([[0], bitmap.ravel(order='F')])
            changes = np.flatnonzero(np.diff(column))
            rle['counts'] = np.diff(np.concatenate([[0], changes, [bitmap.size]])).tolist()
        elif form != 'bytes':
            rle['counts'] = rle['counts'].decode()
        rles.append(rle)
    masks = LabelMapMasks.from_rles(rles, *bitmaps.shape[1:])
    assert_same(masks, BitmapMasks(bitmaps, *bitmaps.shape[1:]))
    assert len(masks.layers) <= len(bitmaps)
    assert len(masks.layers) >= bitmaps.sum(axis=0).max(initial=0)


@given(cell_stacks())
def test_masks_are_made_again_from_their_first_layer(bitmaps):
    rles = LabelMapMasks.from_bitmaps(bitmaps).to_rles()
    masks = LabelMapMasks.from_rles(rles, *bitmaps.shape[1:])
    first = masks.layers[0] if len(masks) else np.zeros(bitmaps.shape[1:])
    again = LabelMapMasks.from_first_layer(first.astype(np.uint16), masks.layer_indices.astype(np.uint8),
                                           [rles[index] for index in np.flatnonzero(masks.layer_indices)])
    for key in ('layers', 'layer_indices', 'ids'):
        np.testing.assert_array_equal(getattr(again, key), getattr(masks, key), strict=True)


def test_rles_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r'\[2, 3\], but the image has the size \[3, 2\]'):
        LabelMapMasks.from_rles([{'size': [2, 3], 'counts': [6]}], 3, 2)


def test_label_maps_become_one_layer_each():
    label_maps = [discs((20, 30), [(9, 5, 5, 4), (2**30, 12, 20, 6)]), discs((20, 30), [(7, 8, 8, 3)])]
    masks = LabelMapMasks.from_label_maps(label_maps)
    assert masks.ids.tolist() == [9, 2**30, 7]
    assert masks.layer_indices.tolist() == [0, 0, 1]
    bitmaps = np.stack([label_maps[0] == 9, label_maps[0] == 2**30, label_maps[1] == 7]).astype(np.uint8)
    assert_same(masks, BitmapMasks(bitmaps, 20, 30))
    for wrong in ([], [np.zeros((2, 3), int), np.zeros((3, 2), int)]):
        with pytest.raises(ValueError, match='one size'):
            LabelMapMasks.from_label_maps(wrong)


@pytest.mark.parametrize('layers, layer_indices, ids, message', [
    (np.zeros((3, 3), np.int32), [], [], 'layers must be'),
    (np.zeros((1, 3, 3)), [], [], 'layers must be'),
    (np.full((1, 3, 3), -1), [], [], 'from 0'),
    (np.full((1, 3, 3), 2**31), [], [], 'from 0'),
    (np.zeros((1, 3, 3), int), [0], [0], 'ids must be from 1'),
    (np.zeros((1, 3, 3), int), [0], [2**31], 'ids must be from 1'),
    (np.zeros((1, 3, 3), int), [1], [1], 'layer_indices must be from 0 to 0'),
    (np.zeros((1, 3, 3), int), [-1], [1], 'layer_indices must be from 0 to 0'),
    (np.zeros((1, 3, 3), int), [0, 0], [1], 'a layer and an id'),
    (np.zeros((1, 3, 3), int), [0], [1.], 'ids must be an array .N,. of integers'),
    (np.zeros((1, 3, 3), int), [[0]], [1], 'layer_indices must be an array .N,. of integers'),
])
def test_invalid_layers_are_refused(layers, layer_indices, ids, message):
    with pytest.raises(ValueError, match=message):
        LabelMapMasks(layers, np.array(layer_indices), np.array(ids))


def test_has_no_attribute_with_bitmaps():
    masks = random_masks()
    assert not hasattr(masks, 'masks')
    with pytest.raises(AttributeError, match='to_ndarray'):
        masks.masks  # noqa: B018
    with pytest.raises(AttributeError):
        masks.masks = np.zeros((1, 32, 32))


def test_boxes_that_are_not_horizontal_are_refused(monkeypatch):
    class TiltedBoxes(BaseBoxes):
        __abstractmethods__ = frozenset()
    monkeypatch.setitem(get_box_type.__globals__['box_types'], 'tilted', TiltedBoxes)
    with pytest.raises(TypeError, match='hbox'):
        random_masks().get_bboxes('tilted')


@given(pairs())
def test_can_be_pickled_and_copied(pair):
    masks, bitmaps = pair
    for duplicate in (pickle.loads(pickle.dumps(masks)), copy.deepcopy(masks), copy.copy(masks)):
        assert_same(duplicate, bitmaps)


# Index and concatenation

@given(pairs(), st.data())
def test_indexing(pair, data):
    masks, bitmaps = pair
    n = len(bitmaps)
    numbers = data.draw(st.lists(st.integers(-n, n - 1), max_size=6)) if n else []
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    whole = data.draw(st.slices(n))
    for index in (numbers, np.array(numbers, np.int64), flags, flags.tolist(), whole, *numbers[:1], Ellipsis):
        indexed = masks[index]
        assert_same(indexed, bitmaps[index])
        assert indexed.layers is masks.layers or len(indexed) == 0
    for wrong in (n, [n]):
        with pytest.raises(IndexError):
            masks[wrong]
    assert len(masks[:0].layers) == 0


def test_indexing_as_part_of_instance_data():
    label_map = discs((40, 40), [(i + 1, 5 + 10 * (i // 4), 5 + 10 * (i % 4), 4) for i in range(16)])
    masks = LabelMapMasks.from_label_maps([label_map])
    instances = InstanceData(masks=masks, labels=torch.arange(16))
    chosen = instances[torch.tensor([3, 3, 9])]
    assert chosen.masks.ids.tolist() == [4, 4, 10]
    assert chosen.masks.layers is masks.layers
    assert len(instances[torch.zeros(16, dtype=torch.bool)].masks) == 0


@given(st.lists(pairs(cell_stacks(max_side=6, max_cells=3)), min_size=1, max_size=4))
def test_cat(some_pairs):
    masks, bitmaps = [list(some) for some in zip(*some_pairs, strict=True)]
    for i in range(len(masks)):
        masks[i], bitmaps[i] = masks[i].expand(6, 6, 0, 0), bitmaps[i].expand(6, 6, 0, 0)
    # The first and the last masks share layers; the masks between them do not.
    masks, bitmaps = [*masks, masks[0][::-1]], [*bitmaps, bitmaps[0][::-1]]
    before = copy.deepcopy(masks)
    assert_same(LabelMapMasks.cat(masks), BitmapMasks.cat(bitmaps))
    for masks_after, masks_before in zip(masks, before, strict=True):
        np.testing.assert_array_equal(masks_after.layers, masks_before.layers)


def test_cat_merges_layers_that_do_not_overlap():
    left = LabelMapMasks.from_label_maps([discs((20, 20), [(1, 5, 5, 3), (2, 5, 14, 3)])])
    right = LabelMapMasks.from_label_maps([discs((20, 20), [(1, 14, 14, 3)])])
    assert len(LabelMapMasks.cat([left, right]).layers) == 1
    assert len(LabelMapMasks.cat([left, right.flip('vertical')]).layers) == 2
    # Instances that were left out by indexing do not keep layers from being merged.
    assert len(LabelMapMasks.cat([left[:1], right.flip('vertical')]).layers) == 1
    assert LabelMapMasks.cat([left[:1], left[1:]]).layers is left.layers


def test_cat_refuses_the_same_arguments_as_bitmaps():
    for wrong, error in (([], ValueError), (random_masks(), AssertionError), ([None], AssertionError),
                         ([random_masks(height=4), random_masks(height=5)], ValueError)):
        with pytest.raises(error):
            LabelMapMasks.cat(wrong)


# Operations that are equal bit for bit

@given(pairs(), st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_resize(pair, out_shape):
    masks, bitmaps = pair
    assert_same(masks.resize(out_shape), bitmaps.resize(out_shape))


@given(pairs(), st.floats(.3, 3) | st.tuples(st.integers(20, 60), st.integers(20, 60)) | st.sampled_from([1, 2, -1]))
def test_rescale(pair, scale):
    if isinstance(scale, float):
        scale = max(scale, 1 / min(pair[0].height, pair[0].width))
    assert_same_outcome(lambda masks: masks.rescale(scale), *pair)


@given(pairs(), st.sampled_from(['horizontal', 'vertical', 'diagonal', 'backwards']))
def test_flip(pair, direction):
    assert_same_outcome(lambda masks: masks.flip(direction), *pair)


@given(pairs(), st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_pad(pair, out_shape):
    assert_same_outcome(lambda masks: masks.pad(out_shape), *pair)


def test_padding_can_only_be_background():
    masks = random_masks(height=8, width=8)
    with pytest.raises(ValueError, match='pad_val=1'):
        masks.pad((9, 8), pad_val=1)
    assert_same(masks.pad((8, 8), pad_val=1), BitmapMasks(masks.to_ndarray(), 8, 8))
    assert masks[:0].pad((9, 8), pad_val=1).height == 9


@given(pairs(), hnp.arrays(np.int64, 4, elements=st.integers(-5, 25)))
def test_crop(pair, bbox):
    before = bbox.copy()
    assert_same_outcome(lambda masks: masks.crop(bbox), *pair)
    assert bbox.tolist() == before.tolist()


@pytest.mark.parametrize('bbox', [[0, 0, 3, 3], np.zeros((1, 4), int), np.array([0, 0, 2.5, 3])])
def test_crop_refuses_the_same_boxes_as_bitmaps(bbox):
    masks = random_masks()
    expected = outcome(BitmapMasks.crop, BitmapMasks(masks.to_ndarray(), 32, 32), bbox)
    assert isinstance(expected, type)
    assert outcome(LabelMapMasks.crop, masks, bbox) is expected


@given(pairs(), st.integers(10, 30), st.integers(10, 30), st.integers(0, 12), st.integers(0, 12))
def test_expand(pair, expanded_h, expanded_w, top, left):
    assert_same_outcome(lambda masks: masks.expand(expanded_h, expanded_w, top, left), *pair)


@given(pairs(), st.integers(1, 30), st.integers(1, 30), st.integers(-25, 35), st.integers(-25, 35))
def test_reframe(pair, height, width, top, left):
    masks, bitmaps = pair
    roomy = bitmaps.expand(100, 100, 40 + top, 40 + left).masks
    expected = BitmapMasks(roomy[:, 40:40 + height, 40:40 + width], height, width)
    assert_same(masks.reframe((height, width), top, left), expected)


@given(pairs(), st.integers(0, 20), st.integers(0, 20))
def test_erase_and_foreground(pair, top, left):
    masks, bitmaps = pair
    np.testing.assert_array_equal(masks.foreground(), bitmaps.masks.any(axis=0))
    region = np.zeros((masks.height, masks.width), bool)
    region[top:top + 5, left:left + 3] = True
    assert_same(masks.erase(region), BitmapMasks(np.where(region, 0, bitmaps.masks), masks.height, masks.width))
    assert_same(masks, bitmaps)


@given(pairs(), st.integers(1, 30), st.integers(1, 30), st.floats(-9, 9), st.floats(.3, 3))
def test_nearest_warp_into_another_frame(pair, height, width, shift, scale):
    masks, bitmaps = pair
    matrix = np.array([[scale, .3, shift], [-.2, scale, -shift / 2]])
    warped = [cv2.warpAffine(bitmap, matrix, (width, height), flags=cv2.INTER_NEAREST) for bitmap in bitmaps]
    assert_same(masks.warp(matrix, (height, width), 'nearest'), BitmapMasks(warped, height, width))


@given(pairs(), st.integers(1, 30), st.integers(1, 30), st.integers(-12, 12), st.integers(-12, 12),
       st.sampled_from(['horizontal', 'vertical', 'both']), st.sampled_from(['nearest', 'bilinear']))
def test_translate_by_whole_pixels(pair, height, width, right, down, direction, interpolation):
    offset = (right, down) if direction == 'both' else right
    assert_same_outcome(lambda masks: masks.translate((height, width), offset, direction,
                                                      interpolation=interpolation), *pair)


WARPS = {
    'translate': lambda masks, amount, direction, **kwargs: masks.translate(
        (masks.height, masks.width), amount, direction, **kwargs),
    'shear': lambda masks, amount, direction, **kwargs: masks.shear(
        (masks.height, masks.width), amount, direction, **kwargs),
    'rotate': lambda masks, amount, direction, **kwargs: masks.rotate((masks.height, masks.width), amount, **kwargs),
    'rotate and scale': lambda masks, amount, direction, **kwargs: masks.rotate(
        (masks.height, masks.width), 10 * amount, center=(3., 5.5), scale=.5 + abs(amount) % 2, **kwargs),
}


@settings(max_examples=examples(200))
@given(pairs(), st.sampled_from(sorted(WARPS)), st.floats(-9, 9), st.sampled_from(['horizontal', 'vertical', 'up']))
def test_nearest_warps(pair, warp, amount, direction):
    # BitmapMasks without masks do not check the direction.
    assume(len(pair[0]) or direction != 'up')
    assert_same_outcome(WARPS[warp], *pair, amount, direction, interpolation='nearest')


@pytest.mark.parametrize('warp', ['translate', 'shear', 'rotate'])
def test_warps_refuse_invalid_arguments(warp):
    masks = random_masks(height=8, width=8)
    with pytest.raises(ValueError, match='border_value=1'):
        WARPS[warp](masks, .5, 'horizontal', border_value=1)
    with pytest.raises(ValueError, match='interpolation must be one of'):
        WARPS[warp](masks, .5, 'horizontal', interpolation='cubic')
    if warp != 'translate':
        with pytest.raises(AssertionError, match='out_shape'):
            getattr(masks, warp)((8, 9), .5)
        assert getattr(masks[:0], warp)((8, 9), .5).width == 9


# Operations that interpolate

def warped_weights(bitmaps, warp, amount, direction):
    """Returns the weights (N, H, W) of each instance around each sampled point, computed by OpenCV in float32."""
    single_masks = (BitmapMasks(bitmap[None].astype(np.float32), *bitmap.shape) for bitmap in bitmaps)
    return [WARPS[warp](single_mask, amount, direction).masks[0] for single_mask in single_masks]


@settings(max_examples=examples(300))
@given(pairs(), st.sampled_from(sorted(WARPS)), st.floats(-9, 9), st.sampled_from(['horizontal', 'vertical']))
def test_bilinear_warps(pair, warp, amount, direction):
    got, expected = (WARPS[warp](masks, amount, direction) for masks in pair)
    assert_differs_only_at_half(got, expected, warped_weights(pair[1], warp, amount, direction), .05)


@given(pairs(), st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_bilinear_resize(pair, out_shape):
    masks, bitmaps = pair
    got = masks.resize(out_shape, 'bilinear')
    weights = np.array([cv2.resize(bitmap.astype(np.float32), out_shape[::-1]) for bitmap in bitmaps])
    assert (got.height, got.width) == out_shape
    is_inside = got.to_ndarray() == 1
    assert (weights.reshape(is_inside.shape)[is_inside] > .5 - 1e-5).all()
    # Between rows and columns OpenCV cuts off fractions of uint8, so that pixels with a weight of up to 3/4 become 0.
    assert_differs_only_at_half(got, bitmaps.resize(out_shape, 'bilinear'), weights, .26)
    # An instance with exactly one half of the weights may have the pixel or not.
    assert (is_inside | (weights.reshape(is_inside.shape) < .5 + 1e-5)).all()


def test_a_pixel_shared_in_halves_goes_to_one_of_two_touching_instances_and_outwards_at_the_frame():
    label_map = np.array([[1, 1, 2, 2, 0, 0, 3]], np.int32)
    masks = LabelMapMasks.from_label_maps([label_map])
    right, left = (masks.translate((1, 7), offset) for offset in (.5, -.5))
    assert right.layers[0, 0].tolist() in ([1, 1, 1, 2, 2, 0, 3], [1, 1, 2, 2, 2, 0, 3])
    assert left.layers[0, 0].tolist() in ([1, 1, 2, 2, 0, 3, 3], [1, 2, 2, 2, 0, 3, 3])


def crowd(side, n_across):
    """Returns a label map (side, side) of discs in rows and columns, each of which touches its neighbours."""
    pitch = side / n_across
    middles = (np.arange(n_across) + .5) * pitch
    return discs((side, side), [(i * n_across + j + 1, y, x, pitch / 2)
                                for i, y in enumerate(middles) for j, x in enumerate(middles)])


def outline(bitmaps):
    """Returns (N, H, W) bool, True at pixels within 1 px of an outline."""
    kernel = np.ones((3, 3), np.uint8)
    return np.array([cv2.dilate(bitmap, kernel) != cv2.erode(bitmap, kernel) for bitmap in bitmaps])


@pytest.mark.parametrize('warp, interpolation', [
    # OpenCV has no area interpolation for warps.
    *itertools.product(['rotate', 'shear', 'translate'], ['bilinear', 'bicubic', 'lanczos']),
    *itertools.product(['resize'], ['bilinear', 'bicubic', 'lanczos', 'area'])])
def test_only_outlines_of_cells_may_differ(warp, interpolation):
    label_map = crowd(96, 6)
    masks = LabelMapMasks.from_label_maps([label_map])
    bitmaps = BitmapMasks(masks.to_ndarray(), 96, 96)
    if warp == 'resize':
        got, expected = (either.resize((110, 77), interpolation) for either in (masks, bitmaps))
    else:
        amount = .4 if warp == 'shear' else 9.3
        got = WARPS[warp](masks, amount, 'horizontal', interpolation=interpolation)
        # With these interpolations OpenCV cannot warp more than four bitmaps at once.
        expected = BitmapMasks.cat([WARPS[warp](bitmaps[i], amount, 'horizontal', interpolation=interpolation)
                                    for i in range(len(bitmaps))])
    differs = got.to_ndarray() != expected.masks
    assert not (differs & ~outline(expected.masks)).any()
    assert got.to_ndarray().any(axis=(1, 2)).sum() > 20
    assert (got.to_ndarray().sum(axis=0) <= 1).all()


@pytest.mark.parametrize('warp, amount', [('rotate', 23.), ('shear', .2)])
def test_more_instances_than_channels_in_opencv(warp, amount):
    label_map = crowd(150, 25)
    masks = LabelMapMasks.from_label_maps([label_map])
    bitmaps = BitmapMasks(masks.to_ndarray(), 150, 150)
    assert len(masks) == 625
    with pytest.raises(cv2.error):
        WARPS[warp](bitmaps, amount, 'vertical')
    expected = BitmapMasks.cat([WARPS[warp](bitmaps[part], amount, 'vertical')
                                for part in (slice(0, 400), slice(400, None))])
    got = WARPS[warp](masks, amount, 'vertical')
    assert_differs_only_at_half(got, expected, warped_weights(bitmaps, warp, amount, 'vertical'), .05)


# Targets of mask heads

def rois_around(boxes, rng, n, sigma):
    """Draws RoIs (n, 4) near the boxes of random instances, some leaving the frame; returns RoIs and instances."""
    inds = rng.integers(0, len(boxes), n)
    return (boxes[inds] + rng.normal(0, sigma, (n, 4))).astype(np.float32), inds


def stock_averages(bitmaps, rois, inds, out_shape):
    features = torch.from_numpy(bitmaps.masks[inds].astype(np.float32))[:, None]
    numbered = torch.cat([torch.arange(len(rois))[:, None], torch.from_numpy(rois)], dim=1).float()
    return torchvision.ops.roi_align(features, numbered, out_shape, 1., 0, True)[:, 0].numpy()


@settings(max_examples=examples(200))
@given(pairs(), st.data())
def test_averages_equal_those_of_roi_align(pair, data):
    masks, bitmaps = pair
    out_shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    corner = st.floats(-8, 30, width=32) | st.integers(-2, 22).map(float)
    n_rois = data.draw(st.integers(0, 9)) if len(masks) else 0
    rois = data.draw(hnp.arrays(np.float32, (n_rois, 4), elements=corner))
    # torchvision's kernel cannot process RoIs with x2 < x1.
    rois = np.concatenate([np.minimum(rois[:, :2], rois[:, 2:]), np.maximum(rois[:, :2], rois[:, 2:])], axis=1)
    inds = data.draw(hnp.arrays(np.int64, n_rois, elements=st.integers(0, max(0, len(masks) - 1))))
    averages = masks.crop_and_resize(rois, out_shape, inds, binarize=False)
    assert isinstance(averages, BitmapMasks)
    assert averages.masks.shape == (n_rois, *out_shape)
    if n_rois:
        expected = stock_averages(bitmaps, rois, inds, out_shape)
        assert averages.masks.dtype == np.float32
        np.testing.assert_allclose(averages.masks, expected, rtol=0, atol=1e-5)
        bits = masks.crop_and_resize(rois, out_shape, inds).masks
        stock_bits = bitmaps.crop_and_resize(rois, out_shape, inds).masks
        assert bits.dtype == stock_bits.dtype
        assert (np.abs(expected[bits != stock_bits] - .5) < 1e-5).all()


def test_averages_at_large_coordinates(rng):
    """In float32 a coordinate of 3000 has a precision of 1/4000 px: sample points must equal those of the kernel."""
    label_map = np.zeros((60, 3000), np.int32)
    label_map[:, 2900:] = np.kron(rng.integers(0, 4, (6, 10)), np.ones((10, 10), np.int32))
    masks = LabelMapMasks.from_label_maps([label_map])
    bitmaps = BitmapMasks(masks.to_ndarray(), *label_map.shape)
    near = np.tile(np.float32([2910, 10, 2960, 45]), (len(masks), 1))
    rois, inds = rois_around(near, rng, 200, 9)
    averages = masks.crop_and_resize(rois, (28, 28), inds, binarize=False).masks
    np.testing.assert_allclose(averages, stock_averages(bitmaps, rois, inds, (28, 28)), rtol=0, atol=1e-5)


def test_rois_of_all_sizes_in_several_layers(rng):
    label_maps = [crowd(200, 4), np.roll(crowd(200, 3), 17, axis=0)]
    masks = LabelMapMasks.from_label_maps(label_maps)[rng.permutation(25)]
    bitmaps = BitmapMasks(masks.to_ndarray(), 200, 200)
    rois, inds = rois_around(bitmaps.get_bboxes('hbox').tensor.numpy(), rng, 60, 5)
    rois[::7] = [-30, -20, 230, 240]
    rois[::9] += 300
    averages = masks.crop_and_resize(rois, (14, 28), inds, binarize=False).masks
    np.testing.assert_allclose(averages, stock_averages(bitmaps, rois, inds, (14, 28)), rtol=0, atol=1e-5)


def test_small_batches_of_crops_change_nothing(rng, monkeypatch):
    masks = LabelMapMasks.from_label_maps([crowd(100, 5)])
    rois, inds = rois_around(masks.get_bboxes().tensor.numpy(), rng, 40, 5)
    whole = masks.crop_and_resize(rois, (7, 7), inds, binarize=False).masks
    monkeypatch.setattr('mmcell.masks.batches.BATCH_PX', 1000)
    np.testing.assert_array_equal(masks.crop_and_resize(rois, (7, 7), inds, binarize=False).masks, whole)


@pytest.mark.parametrize('roi', [[np.nan, 0, 5, 5], [0, 0, np.inf, 5], [9, 9, 3, 3], [4, 4, 4, 4]])
def test_rois_without_extent_or_finite_coordinates_average_to_zero(roi):
    masks = LabelMapMasks.from_label_maps([np.ones((10, 10), np.int32)])
    rois = np.float32([roi, [0, 0, 10, 10]])
    averages = masks.crop_and_resize(rois, (2, 2), np.zeros(2, np.int64), binarize=False).masks
    assert averages[0].tolist() == [[0, 0], [0, 0]]
    assert averages[1].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize('precision', [torch.float64, torch.float32])
def test_averages_do_not_lose_precision_under_autocast(rng, monkeypatch, precision):
    masks = LabelMapMasks.from_label_maps([crowd(60, 3)])
    rois, inds = rois_around(masks.get_bboxes().tensor.numpy(), rng, 20, 3)
    expected = masks.crop_and_resize(rois, (7, 7), inds, binarize=False).masks
    # Some devices have no float64; both precisions are tested.
    monkeypatch.setattr('mmcell.masks.roi_averages._precise_dtype', lambda device: precision)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        averages = masks.crop_and_resize(rois, (7, 7), inds, binarize=False).masks
    np.testing.assert_allclose(averages, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64, torch.int64])
def test_boxes_may_have_other_dtypes(dtype):
    layers = torch.from_numpy(crowd(40, 2)[None])
    rois = torch.tensor([[1, 1, 21, 23]])
    args = (layers, torch.tensor([0]), torch.tensor([1]))
    averages = roi_averages(*args, rois.to(dtype), (4, 4))
    assert averages.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(averages.float(), roi_averages(*args, rois.float(), (4, 4)))


def test_targets_of_mask_heads_equal_those_of_bitmaps(rng):
    masks = LabelMapMasks.from_label_maps([crowd(80, 4)])
    bitmaps = BitmapMasks(masks.to_ndarray(), 80, 80)
    rois, inds = rois_around(masks.get_bboxes().tensor.numpy(), rng, 30, 4)
    for cfg in (dict(mask_size=28), dict(mask_size=(14, 7), soft_mask_target=True)):
        targets, expected = (mask_target([torch.from_numpy(rois), torch.zeros(0, 4)],
                                         [torch.from_numpy(inds), torch.zeros(0, dtype=torch.long)],
                                         [either, either[:0]], ConfigDict(cfg)) for either in (masks, bitmaps))
        torch.testing.assert_close(targets, expected, rtol=0, atol=1e-5)


# Cost

def test_thousands_of_instances():
    label_map = np.kron(np.random.default_rng(1).permutation(3600).reshape(60, 60) + 1, np.ones((2, 2), np.int64))
    label_map[::2, ::2] = 0
    masks = LabelMapMasks.from_label_maps([label_map])
    bitmaps = BitmapMasks((label_map == np.arange(1, 3601)[:, None, None]).astype(np.uint8), 120, 120)
    assert_same(masks, bitmaps)
    assert_same(masks.rescale(.7).flip('diagonal'), bitmaps.rescale(.7).flip('diagonal'))
    np.testing.assert_array_equal(masks.areas, bitmaps.areas)
    np.testing.assert_array_equal(masks.get_bboxes().tensor, bitmaps.get_bboxes('hbox').tensor)
    assert_same(LabelMapMasks.from_bitmaps(bitmaps), bitmaps)


def test_memory_depends_on_the_pixels_and_not_on_the_instances():
    masks = LabelMapMasks.from_label_maps([crowd(400, 30)])
    assert len(masks) == 900
    tracemalloc.start()
    masks.rescale(1.5).flip().pad((600, 640)).crop(np.array([10, 10, 500, 500])).rotate((490, 490), 20.)[::2]
    LabelMapMasks.cat([masks, masks.flip()]).areas.sum()
    masks.get_bboxes()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Bitmaps of 900 instances would take 900 bytes per pixel.
    assert peak < 180 * 400 * 400


FLAGS = [True, False, False, True]


@pytest.mark.parametrize('index', [
    0, -4, np.int64(2), np.array(1), True, False, np.True_, np.False_, np.array(True), torch.tensor(False), None, ...,
    slice(None), slice(1, 3), slice(None, None, -1), slice(5, 9), [], [0, 2, 0], [-1], FLAGS, np.array(FLAGS),
    torch.tensor(FLAGS), np.zeros(0, int), torch.zeros(0, dtype=torch.int64), torch.tensor(3), torch.tensor([3, 1]),
    [[0, 1], [2, 3]], np.array([[0, 1]]), (), (1,), ([0, 1],), (None,), (None, 0), (0, None), (slice(1, 3), None),
    (0, slice(None), slice(None)), (slice(1, 3), ...), (..., slice(None)), (FLAGS,), (np.array(FLAGS), slice(None))],
    ids=repr)
def test_every_index_of_bitmap_masks(index):
    bitmaps = np.random.default_rng(0).integers(0, 2, (4, 5, 6), np.uint8)
    assert_same(LabelMapMasks.from_bitmaps(bitmaps)[index], BitmapMasks(bitmaps, 5, 6)[index])


@pytest.mark.parametrize('index', [
    4, -5, 1.5, 'a', [0, 9], [True, False], np.array([0.]), (0, 0), (..., 0), (slice(None), slice(0, 3)), (0, 1, 2, 3),
    (np.array([0, 1]), np.array([0, 1]))],
    ids=repr)
def test_an_index_of_pixels_or_of_no_instance_is_refused(index):
    masks = LabelMapMasks.from_bitmaps(np.ones((4, 5, 6), np.uint8))
    with pytest.raises(IndexError):
        masks[index]
