import json

import numpy as np
import pycocotools.mask
import pytest
import tifffile
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

import mmcell  # noqa: F401
from mmcell.datasets.browsing import ShownSamples, StoredImages, TransformedSamples
from mmcell.masks.rle import encode_label_map

# The images of ``raw_root`` have this colour everywhere.
COLOR = [200, 100, 50]
LOAD = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]
PREPROCESSOR = ConfigDict(type='DetDataPreprocessor', mean=[10., 20., 30.], std=[2., 4., 5.], pad_mask=True,
                          pad_size_divisor=32)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def cells(annotation_file, pipeline, **kwargs):
    return ConfigDict(type='CellDataset', ann_file=str(annotation_file), pipeline=pipeline, **kwargs)


def to_masks(image):
    """The masks of a browsed image, (N, H, W) bool."""
    return np.stack([pycocotools.mask.decode(rle) > 0 for rle in image.rles])


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_stored_images_have_the_colours_that_the_model_sees_and_the_cells_of_the_file(annotation_file, raw_root, order):
    images = StoredImages(cells(annotation_file, [*LOAD, dict(type='PackCellInputs')], channel_order=order))
    first, second = images
    assert (first.image == (COLOR if order == 'rgb' else COLOR[::-1])).all()
    assert images.classes == ['big', 'small'] and first.labels == [0, 0, 1] and second.labels == [0]
    label_maps = raw_root[1]['a']
    np.testing.assert_array_equal(to_masks(first), [label_maps[1] == 3, label_maps[1] == 9, label_maps[2] == 7])
    assert first.img_path.endswith('train/a/image.tif') and first.bboxes_xyxy is None


def test_images_of_the_stock_loader_are_in_true_colours(annotation_file):
    images = StoredImages(cells(annotation_file, [dict(type='LoadImageFromFile')]))
    assert (images[0].image == COLOR).all() and len(images[0].rles) == 3


def test_wrapped_data_sets_show_each_image_once(annotation_file):
    base = cells(annotation_file, LOAD)
    mixed = ConfigDict(type='CellMixDataset', pipeline=[dict(type='CellMosaic', img_scale=(32, 32))],
                       dataset=dict(type='RepeatDataset', times=3, dataset=base))
    joined = ConfigDict(type='ConcatDataset', datasets=[mixed, base])
    names = [image.img_path.split('/')[-2] for image in StoredImages(joined)]
    assert names == ['a', 'b', 'a', 'b']


def test_the_normalisation_is_undone_and_padding_is_shown(annotation_file, raw_root):
    samples = ShownSamples(cells(annotation_file, [*LOAD, dict(type='PackCellInputs')]), PREPROCESSOR, True)
    drawn = samples.draw(0, 0)
    # The image of 40 x 50 px is padded to 64 x 64 px with the mean colour, which is 0 after normalisation.
    assert drawn.image.shape == (64, 64, 3)
    assert (drawn.image[:40, :50] == COLOR).all() and (drawn.image[40:] == [10, 20, 30]).all()
    masks, label_maps = to_masks(drawn), raw_root[1]['a']
    np.testing.assert_array_equal(masks[:, :40, :50],
                                  [label_maps[1] == 3, label_maps[1] == 9, label_maps[2] == 7])
    assert not masks[:, 40:].any() and not masks[:, :, 50:].any()
    assert drawn.bboxes_xyxy.tolist() == [[5, 5, 15, 16], [15, 5, 26, 16], [24, 24, 37, 37]]
    no_pad_mask = ShownSamples(cells(annotation_file, [*LOAD, dict(type='PackCellInputs')]),
                               ConfigDict({**PREPROCESSOR, 'pad_mask': False}), True)
    np.testing.assert_array_equal(to_masks(no_pad_mask.draw(0, 0)), masks)


@pytest.mark.parametrize('loader, flags, expected', [
    ('LoadTiff', dict(bgr_to_rgb=False), COLOR),
    # The model is shown blue, green, red; the picture has true colours.
    ('LoadTiff', dict(rgb_to_bgr=True), COLOR),
    ('LoadImageFromFile', dict(bgr_to_rgb=True), COLOR),
    ('LoadImageFromFile', dict(bgr_to_rgb=False), COLOR),
    # A mistake: LoadTiff loads red, green, blue already.
    ('LoadTiff', dict(bgr_to_rgb=True), COLOR[::-1]),
])
def test_the_colours_are_those_that_the_model_is_shown(annotation_file, loader, flags, expected):
    pipeline = [dict(type=loader), dict(type='LoadCellAnnotations'), dict(type='PackCellInputs')]
    samples = ShownSamples(cells(annotation_file, pipeline), ConfigDict({**PREPROCESSOR, **flags}), True)
    assert (samples.draw(0, 0).image[:40, :50] == expected).all()


@pytest.fixture
def coloured(annotation_file, raw_root, rng):
    """The annotation file, after the image a has become noise, so that each part of it is different."""
    tifffile.imwrite(raw_root[0] / 'train' / 'a' / 'image.tif', rng.integers(0, 256, (40, 50, 3), np.uint8),
                     photometric='rgb')
    return annotation_file


@pytest.mark.parametrize('wrapped', [False, True])
def test_draws_of_an_image_differ_and_can_be_repeated(coloured, wrapped):
    augment = [dict(type='RandomCrop', crop_size=(20, 20), allow_negative_crop=True), dict(type='PackCellInputs')]
    dataset = cells(coloured, [*LOAD, *([] if wrapped else augment)])
    if wrapped:
        dataset = ConfigDict(type='CellMixDataset', dataset=dataset, pipeline=[
            dict(type='CellMosaic', img_scale=(32, 32)), dict(type='CellCopyPaste'), *augment])
    first, again = (ShownSamples(dataset, PREPROCESSOR, True, seed=3) for _ in range(2))
    draws = [first.draw(0, number) for number in range(4)]
    assert len({draw.image.tobytes() for draw in draws}) > 1
    # Neither the order of the draws nor the state of the generators has an influence.
    np.random.seed(99)
    np.testing.assert_array_equal(again.draw(0, 2).image, draws[2].image)
    assert again.draw(0, 2).rles == draws[2].rles
    other_seed = ShownSamples(dataset, PREPROCESSOR, True, seed=4)
    assert {other_seed.draw(0, number).image.tobytes() for number in range(4)} != {d.image.tobytes() for d in draws}
    for draw in draws:
        assert len(draw.rles) == len(draw.labels) == len(draw.bboxes_xyxy)


@pytest.mark.parametrize('loader', ['LoadTiff', 'LoadImageFromFile'])
def test_transforms_are_drawn_in_true_colours_with_their_boxes_and_masks(annotation_file, raw_root, loader):
    flip = dict(type='RandomFlip', prob=1., direction='vertical')
    pipeline = [dict(type=loader), dict(type='RandomCrop', crop_size=(5, 5)), dict(type='PackCellInputs')]
    samples = TransformedSamples(cells(annotation_file, pipeline), [flip])
    original, drawn = samples[0], samples.draw(0, 2)
    assert len(samples) == 2 and samples.classes == ['big', 'small']
    assert (original.title, drawn.title) == ('original', 'draw 3')
    label_maps = raw_root[1]['a']
    masks = np.stack([label_maps[1] == 3, label_maps[1] == 9, label_maps[2] == 7])
    for image, expected in ((original, masks), (drawn, masks[:, ::-1])):
        assert (image.image == COLOR).all() and image.labels == [0, 0, 1]
        np.testing.assert_array_equal(to_masks(image), expected)
    assert original.bboxes_xyxy.tolist() == [[5, 5, 15, 16], [15, 5, 26, 16], [24, 24, 37, 37]]
    assert drawn.bboxes_xyxy[:, 1].tolist() == [24, 24, 3]


def test_draws_of_transforms_that_mix_images_can_be_repeated(coloured):
    mix = [dict(type='CellMosaic', img_scale=(32, 32)), dict(type='RandomRotate90')]
    first, again = (TransformedSamples(cells(coloured, LOAD), mix, seed=3) for _ in range(2))
    draws = [first.draw(0, number).image.tobytes() for number in range(4)]
    assert len(set(draws)) > 1
    np.random.seed(99)
    assert again.draw(0, 2).image.tobytes() == draws[2]


def test_ignored_cells_are_drawn_apart_from_the_others(annotation_file):
    document = json.loads(annotation_file.read_text())
    document['annotations'][1]['iscrowd'] = 1
    annotation_file.write_text(json.dumps(document))
    drawn = TransformedSamples(cells(annotation_file, LOAD), []).draw(0, 0)
    assert drawn.labels == [0, 1] and len(drawn.rles) == len(drawn.bboxes_xyxy) == 2
    assert drawn.ignored_bboxes_xyxy.tolist() == [[15, 5, 26, 16]]


def test_ignored_cells_and_pipelines_without_cells(annotation_file):
    document = json.loads(annotation_file.read_text())
    document['annotations'][1]['iscrowd'] = 1
    annotation_file.write_text(json.dumps(document))
    drawn = ShownSamples(cells(annotation_file, [*LOAD, dict(type='PackCellInputs')]), PREPROCESSOR, True).draw(0, 0)
    assert drawn.labels == [0, 1] and drawn.ignored_bboxes_xyxy.tolist() == [[15, 5, 26, 16]]
    test_pipeline = [dict(type='LoadTiff'), dict(type='PackCellInputs')]
    drawn = ShownSamples(cells(annotation_file, test_pipeline, test_mode=True), PREPROCESSOR, False).draw(0, 0)
    assert drawn.labels == [] and drawn.rles is None and drawn.image.shape == (64, 64, 3)


def test_truth_does_not_change_the_entries_of_the_data_set(annotation_file):
    images = StoredImages(cells(annotation_file, LOAD))
    first, second = images[0], images[0]
    assert first.rles == second.rles == encode_label_map_of(first)


def encode_label_map_of(image):
    masks = to_masks(image)
    return [encode_label_map(mask.astype(int)).rles[0] for mask in masks]
