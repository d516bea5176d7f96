"""The adapter for Albumentations: its contract, tested with a stand-in, and the package, where it is installed.

Each cell has its own colour, so that masks and boxes can be compared with the pixels.
"""

import importlib.util
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from support.synthetic_data import discs

from mmcell.datasets import Albumentations
from mmcell.datasets.albumentations_adapter import AlbumentationsError
from mmcell.masks.label_map_masks import LabelMapMasks

LAYERS = [discs((60, 90), [(2, 10, 10, 9), (70000, 10, 28, 9), (9, 50, 80, 14), (12, 2, 60, 5)]),
          discs((60, 90), [(1, 14, 14, 8), (3, 40, 60, 6)])]


class Compose:
    """A stand-in for Albumentations' class, with the behaviour that the adapter relies on."""

    def __init__(self, transforms, p=1., mask_interpolation=None, strict=False):
        assert mask_interpolation == 0 and strict
        self.transforms, self.p = transforms, p

    def set_random_seed(self, seed):
        self.generator = np.random.default_rng(seed)

    def __call__(self, *, image, masks=()):
        for transform in self.transforms if self.generator.random() < self.p else ():
            image, masks = transform(self.generator, image, list(masks))
        return dict(image=image, masks=masks)


class Crop:
    def __init__(self, height, width, fill_mask=0):
        self.height, self.width = height, width

    def __call__(self, generator, image, masks):
        top = generator.integers(image.shape[0] - self.height + 1)
        window = slice(top, top + self.height), slice(5, 5 + self.width)
        return image[window], [mask[window] for mask in masks]


class InPlaceFlip:
    def __call__(self, generator, image, masks):
        for array in (image, *masks):
            array[:] = array[:, ::-1].copy()
        return image, masks


class OneOf:
    def __init__(self, transforms, p):
        self.transforms, self.p = transforms, p

    def __call__(self, generator, image, masks):
        return self.transforms[generator.integers(len(self.transforms))](generator, image, masks)


def broken(change):
    """A transform that changes image and masks in a way that the adapter must refuse."""
    return type('Broken', (), {'__call__': lambda self, generator, image, masks: change(image, masks)})


@pytest.fixture
def package(monkeypatch):
    stand_in = ModuleType('albumentations')
    for kind in (Compose, Crop, InPlaceFlip, OneOf):
        setattr(stand_in, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, 'albumentations', stand_in)
    return stand_in


def sample(layers=LAYERS, kind='label maps'):
    masks = LabelMapMasks.from_label_maps(layers)
    labels = np.arange(len(masks))
    image = np.zeros((*layers[0].shape, 3), np.uint8)
    for label, bitmap in enumerate(masks):
        image[..., masks.layer_indices[label]] += (label + 1) * bitmap
    boxes = masks.get_bboxes()
    if kind == 'bitmaps':
        masks = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    return dict(img=image, img_shape=image.shape[:2], gt_masks=masks, gt_bboxes=boxes, gt_bboxes_labels=labels,
                gt_ignore_flags=labels % 2 == 1)


def assert_true_to_the_pixels(results, tolerance_px=0):
    bitmaps, labels = results['gt_masks'].to_ndarray() > 0, results['gt_bboxes_labels']
    assert bitmaps.shape[1:] == results['img'].shape[:2] == results['img_shape']
    assert len(bitmaps) == len(labels) == len(results['gt_bboxes'])
    np.testing.assert_array_equal(results['gt_ignore_flags'], labels % 2 == 1)
    for label, bitmap, box in zip(labels.tolist(), bitmaps, results['gt_bboxes'].tensor.tolist(), strict=True):
        channel = results['img'][..., 0 if label < 4 else 1]
        assert (bitmap != (channel == label + 1)).sum() <= tolerance_px
        y, x = np.nonzero(bitmap)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize('kind', ['label maps', 'bitmaps'])
def test_ids_boxes_and_overlapping_layers_follow_the_image(package, kind):
    transform = TRANSFORMS.build(dict(type='Albumentations', _scope_='mmdet', transforms=[
        dict(type='OneOf', transforms=[dict(type='Crop', height=30, width=60), dict(type='InPlaceFlip')], p=1.)]))
    sizes, n_cells = set(), set()
    for seed in range(20):
        np.random.seed(seed)
        before = sample(kind=kind)
        bitmaps = before['gt_masks'].to_ndarray().copy()
        results = transform(dict(before))
        assert_true_to_the_pixels(results)
        assert type(results['gt_masks']) is type(before['gt_masks']) and type(results['gt_bboxes']) is HorizontalBoxes
        # Arrays of the sample are not changed in place.
        np.testing.assert_array_equal(before['gt_masks'].to_ndarray(), bitmaps)
        np.testing.assert_array_equal(before['img'], sample()['img'])
        sizes.add(results['img_shape'])
        n_cells.add(len(results['gt_masks']))
    assert sizes == {(30, 60), (60, 90)} and len(n_cells) > 1


def test_any_number_of_cells_keeps_its_ids(package):
    rows = np.arange(1, 2001, dtype=np.int32).reshape(40, 50)
    layers = [np.kron(rows, np.ones((2, 2), np.int32)), np.kron(rows[::-1], np.ones((2, 2), np.int32))]
    masks = LabelMapMasks.from_label_maps(layers)
    results = dict(img=np.zeros((80, 100, 3), np.uint8), gt_masks=masks, gt_bboxes=masks.get_bboxes(),
                   gt_bboxes_labels=np.arange(4000))
    results = Albumentations([dict(type='InPlaceFlip')])(results)
    np.testing.assert_array_equal(results['gt_masks'].get_bboxes().tensor, masks.flip().get_bboxes().tensor)
    assert results['gt_bboxes_labels'].tolist() == list(range(4000))


def test_an_image_without_cells_stays_without_cells(package):
    results = Albumentations([dict(type='Crop', height=30, width=60)])(sample([np.zeros((60, 90), np.int32)]))
    assert len(results['gt_masks']) == len(results['gt_bboxes']) == 0
    assert (results['gt_masks'].height, results['gt_masks'].width) == results['img_shape'] == (30, 60)


def test_the_same_seed_gives_the_same_sample_also_in_another_process(package):
    transform = Albumentations([dict(type='Crop', height=10, width=60)], p=.7)
    outcomes = []
    for seed in (3, 3, *range(4, 12)):
        np.random.seed(seed)
        outcomes.append(pickle.loads(pickle.dumps(transform))(sample())['img'].tobytes())
    assert outcomes[0] == outcomes[1] and len(set(outcomes)) > 4 and sample()['img'].tobytes() in outcomes
    assert repr(transform) == "Albumentations(transforms=[{'type': 'Crop', 'height': 10, 'width': 60}], p=0.7)"


@pytest.mark.parametrize('change, message', [
    (lambda image, masks: (image / 255., masks), r'type float64, not \(H, W, 3\) and uint8: leave out Normalize'),
    (lambda image, masks: (image.transpose(2, 0, 1), masks), r'image of the shape \(3, 60, 90\)'),
    (lambda image, masks: (image[:9], masks), r'not integers of the shape \(2, 9, 90\)'),
    (lambda image, masks: (image, [mask.astype(np.float32) for mask in masks]), 'of type float32, not integers'),
    (lambda image, masks: (image, [masks[0] + 1, masks[1]]), 'cells that are not in the image'),
    (lambda image, masks: (image, masks[::-1]), 'mixes the ids of cells')])
def test_what_cells_cannot_have_is_refused(package, change, message):
    package.Broken = broken(change)
    with pytest.raises(AlbumentationsError, match=message):
        Albumentations([dict(type='Broken')])(sample())


@pytest.mark.parametrize('transforms, message', [
    ([dict(type='Crops', height=1, width=1)], "no transform 'Crops', did you mean Crop"),
    ([dict(type='OneOf', transforms=[dict(type='Nothing')], p=1)], "no transform 'Nothing'"),
    ([dict(height=1)], 'is written as dict'), (['Crop'], 'is written as dict'),
    ([dict(type='Crop', height=1, width=1, fill_mask=1)], 'can be filled only with background, 0')])
def test_wrong_transforms_are_named(package, transforms, message):
    with pytest.raises(AlbumentationsError, match=message):
        Albumentations(transforms)


def test_samples_without_masks_or_with_a_segmentation_are_refused(package):
    for wrong in (dict(sample(), gt_masks=None), dict(sample(), gt_seg_map=np.zeros((60, 90)))):
        with pytest.raises(ValueError, match='needs gt_masks, and takes no gt_seg_map'):
            Albumentations([dict(type='InPlaceFlip')])(wrong)


def test_without_the_package_the_message_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'albumentations', None)
    with pytest.raises(AlbumentationsError, match='pip install albumentations'):
        Albumentations([])


# With the package

needs_package = pytest.mark.skipif(importlib.util.find_spec('albumentations') is None,
                                   reason='pip install albumentations')
# Transforms of each kind, with the arguments that sample the image as the masks, so that colours tell cells apart.
NEAREST = dict(interpolation=0, p=1.)
REAL = [dict(type='D4', p=1.), dict(type='RandomResizedCrop', size=(50, 40), **NEAREST),
        dict(type='Affine', rotate=(-90, 90), scale=(.7, 1.4), fill=0, **NEAREST),
        dict(type='ElasticTransform', alpha=40, sigma=5, fill=0, border_mode=0, **NEAREST),
        dict(type='GridDistortion', fill=0, border_mode=0, **NEAREST), dict(type='RandomGridShuffle', p=1.),
        dict(type='OneOf', transforms=[dict(type='Transpose', p=1.), dict(type='PadIfNeeded', min_height=100,
                                                                          min_width=100, border_mode=0)], p=1.)]


@needs_package
@pytest.mark.parametrize('step', REAL, ids=lambda step: step['type'])
def test_transforms_of_the_package_keep_masks_true_to_the_pixels(step):
    transform, outcomes = Albumentations([step]), []
    for seed in (0, 0, *range(1, 8)):
        np.random.seed(seed)
        results = transform(sample())
        # Images and masks may be sampled by different functions, which round differently at single pixels.
        assert_true_to_the_pixels(results, tolerance_px=2)
        outcomes.append(results['img'].tobytes())
    assert outcomes[0] == outcomes[1] and len(set(outcomes)) > 1


@needs_package
def test_unknown_arguments_of_the_package_are_refused():
    with pytest.raises(ValueError, match='rotation'):
        Albumentations([dict(type='Affine', rotation=3)])


@needs_package
def test_colours_change_and_masks_stay():
    results = Albumentations([dict(type='HueSaturationValue', p=1.)])({**sample(), 'img': sample()['img'] + 90})
    np.testing.assert_array_equal(results['gt_masks'].to_ndarray(), sample()['gt_masks'].to_ndarray())
