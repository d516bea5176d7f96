"""Samples of a data set that keeps decoded images are those of one that does not, and each image is decoded once."""

import json
import multiprocessing
import os
import weakref

import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from support.synthetic_data import discs, write_annotations

from mmcell.datasets import decoded_images, loading
from mmcell.files.shared_arrays import PAGE_BYTES
from mmcell.framework.randomness import SeededIndex
from mmcell.masks.label_map_masks import LabelMapMasks

LOADING = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]
CROP_FIRST = [dict(type='RandomCrop', crop_size=(24, 24), allow_negative_crop=True, recompute_bbox=True),
              dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
              dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal'])]
# All of these write into the image or the masks they get, or pass parts of them on.
IN_PLACE = [dict(type='CutOut', n_holes=3, cutout_shape=(9, 9)), dict(type='StainJitter', alpha=.2, beta=.1),
            dict(type='YOLOXHSVRandomAug'), dict(type='PhotoMetricDistortion')]
SIZES = {'a': (40, 50), 'b': (36, 44), 'c': (30, 30)}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.fixture
def ann_file(tmp_path, rng):
    """An annotation file with an image whose cells overlap, one with cells apart from one another, and one without."""
    root = tmp_path / 'raw'
    cells = {'a': ([(3, 10, 10, 5), (9, 10, 20, 5)], [(7, 12, 14, 6), (8, 30, 30, 4)]),
             'b': ([(1, 12, 12, 4)], [(2, 25, 25, 6)]), 'c': ()}
    maps = {name: [discs(SIZES[name], of_class) for of_class in cells[name]] for name in cells}
    for name, label_maps in maps.items():
        folder = root / 'train' / name
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / 'image.tif', rng.integers(0, 256, (*SIZES[name], 4), np.uint8), photometric='rgb',
                         extrasamples=['unassalpha'], compression='lzw')
        for number, label_map in enumerate(label_maps, 1):
            tifffile.imwrite(folder / f'class{number}.tif', label_map.astype(np.float64))
    path = tmp_path / 'ann' / 'train.json'
    write_annotations(root, path, ['big', 'small'])
    return path


def build(ann_file, transforms=(), loading_transforms=tuple(LOADING), **kwargs):
    return DATASETS.build(ConfigDict(type='CellDataset', ann_file=str(ann_file), pipeline=[
        *loading_transforms, *transforms, dict(type='PackCellInputs')], **kwargs))


def assert_same(sample, expected):
    assert sample['inputs'].equal(expected['inputs'])
    given, wanted = (packed['data_samples'].gt_instances for packed in (sample, expected))
    assert given.bboxes.tensor.equal(wanted.bboxes.tensor) and given.labels.equal(wanted.labels)
    for key in ('layers', 'layer_indices', 'ids'):
        a, b = getattr(given.masks, key), getattr(wanted.masks, key)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def load_epochs(dataset, n_workers, method=None, n_epochs=3):
    """Loads all samples once per epoch; their random choices depend on the epoch and the index."""
    for epoch in range(n_epochs):
        indices = [SeededIndex(index, seed=100 * epoch + index) for index in range(len(dataset))]
        loader = torch.utils.data.DataLoader(dataset, sampler=indices, num_workers=n_workers, collate_fn=pseudo_collate,
                                             multiprocessing_context=method)
        for batch in loader:
            yield {key: values[0] for key, values in batch.items()}


def assert_same_epochs(cached, plain, n_workers, method=None):
    for sample, expected in zip(load_epochs(cached, n_workers, method), load_epochs(plain, 0), strict=True):
        assert_same(sample, expected)


@pytest.fixture
def n_reads(monkeypatch):
    """Counts over all processes how often an image was decoded, and how often cells were."""
    counts = multiprocessing.RawArray('i', 2)

    def counting(position, function):
        def count(*args, **kwargs):
            counts[position] += 1
            return function(*args, **kwargs)
        return count

    monkeypatch.setattr(loading, 'read_image', counting(0, loading.read_image))
    monkeypatch.setattr(LabelMapMasks, 'from_rles', counting(1, LabelMapMasks.from_rles))
    return counts


@pytest.fixture(autouse=True)
def no_earlier_data_sets(monkeypatch):
    monkeypatch.setattr(decoded_images, '_living', weakref.WeakSet())


@pytest.fixture
def messages(monkeypatch):
    """The messages that are logged."""
    logged = []
    monkeypatch.setattr(decoded_images, 'print_log', lambda message, **kwargs: logged.append(message))
    return logged


@pytest.mark.parametrize('n_workers', [0, 1, 2])
def test_samples_are_the_same_and_decoded_once(ann_file, n_reads, n_workers):
    cached = build(ann_file, CROP_FIRST)
    samples = list(load_epochs(cached, n_workers))
    # With two workers, one count may be lost when both count at once; none can be added.
    assert n_workers == 2 or list(n_reads) == [3, 3]
    assert max(n_reads) <= 3
    for sample, expected in zip(samples, load_epochs(build(ann_file, CROP_FIRST, cache_gib=0), 0), strict=True):
        assert_same(sample, expected)


@pytest.mark.slow
@pytest.mark.parametrize('start_method', ['spawn', 'forkserver'])
def test_workers_that_are_not_forked_share_the_places(ann_file, n_reads, start_method):
    cached, plain = (build(ann_file, CROP_FIRST, cache_gib=gib) for gib in (None, 0))
    for method in (start_method, None):
        # Counts do not reach these workers. What they have decoded is not decoded again here.
        samples = list(load_epochs(cached, 2 if method else 0, method, n_epochs=1))
        assert list(n_reads) == [0, 0]
        for sample, expected in zip(samples, load_epochs(plain, 2, n_epochs=1), strict=True):
            assert_same(sample, expected)
        n_reads[:] = [0, 0]


def test_transforms_that_write_in_place_do_not_reach_what_is_kept(ann_file):
    cached, plain = (build(ann_file, IN_PLACE, cache_gib=gib) for gib in (None, 0))
    assert_same_epochs(cached, plain, 0)


def test_arrays_of_a_sample_can_be_changed(ann_file):
    dataset = build(ann_file)
    expected = dataset[0]
    load_image, load_cells = dataset.pipeline.transforms[:2]
    for _ in range(2):
        results = load_cells(load_image(dataset.get_data_info(0)))
        results['img'][:] = 0
        results['gt_masks'].layers[:] = 0
    assert_same(dataset[0], expected)


@pytest.mark.parametrize('mix', ['CellCopyPaste', 'CellMosaic'])
def test_mixed_images_are_the_same(ann_file, mix):
    def mixed(gib):
        transform = dict(type=mix, **(dict(img_scale=(40, 40)) if mix == 'CellMosaic' else {}))
        return DATASETS.build(ConfigDict(
            type='CellMixDataset', pipeline=[transform, dict(type='PackCellInputs')],
            dataset=dict(type='CellDataset', ann_file=str(ann_file), pipeline=LOADING, cache_gib=gib)))

    assert_same_epochs(mixed(None), mixed(0), 0)


def test_masks_as_polygons_are_the_same(ann_file, n_reads):
    document = json.loads(ann_file.read_text())
    for annotation in document['annotations']:
        x, y, width, height = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + width, y, x + width, y + height]]
    ann_file.write_text(json.dumps(document))
    cached = build(ann_file, CROP_FIRST)
    samples = list(load_epochs(cached, 0))
    assert n_reads[1] == 3
    for sample, expected in zip(samples, load_epochs(build(ann_file, CROP_FIRST, cache_gib=0), 0), strict=True):
        assert_same(sample, expected)


@pytest.mark.parametrize('fits', [False, True])
def test_images_get_places_until_the_budget_is_used_up(ann_file, n_reads, fits):
    # Image, label map and layers of the cells each begin on a page of their own; c has no cell.
    pages = [-(-n_bytes // PAGE_BYTES) for n_bytes in (40 * 50 * 3, 40 * 50 * 2, 4, 30 * 30 * 3, 30 * 30 * 2)]
    budget_bytes = sum(pages) * PAGE_BYTES - (not fits)
    dataset = build(ann_file, cache_gib=budget_bytes / 2 ** 30)
    # b is as large as a.
    assert len(dataset.decoded) == 1 + fits and dataset.decoded.n_bytes <= budget_bytes
    assert dataset.decoded.describe().startswith(f'{1 + fits} of 3 images fit into the cache of decoded images and')
    assert_same_epochs(dataset, build(ann_file, cache_gib=0), 0)
    assert n_reads[0] == (1 + fits) + 3 * (2 - fits) + 9


def test_a_changed_file_is_read_from_disk(ann_file, messages):
    dataset = build(ann_file)
    before, other = dataset[0], dataset[1]
    path = dataset.get_data_info(0)['img_path']
    tifffile.imwrite(path, 255 - tifffile.imread(path), photometric='rgb', extrasamples=['unassalpha'])
    samples = [dataset[0] for _ in range(2)]
    for sample in samples:
        assert sample['inputs'].equal(255 - before['inputs'])
    message, = messages
    assert message.startswith(f'{path}: was changed since the training began')
    assert_same(dataset[1], other)


def test_an_image_changed_while_it_is_read_is_not_kept(ann_file, monkeypatch):
    dataset = build(ann_file)

    def read_and_change(path, *args):
        image = read_image(path, *args)
        os.utime(path, ns=(1, 1))
        return image

    read_image = loading.read_image
    monkeypatch.setattr(loading, 'read_image', read_and_change)
    dataset[0]
    assert dataset.decoded._arrays.read(0) is None


def test_labels_follow_another_order_of_classes(ann_file):
    dataset = build(ann_file)
    before = dataset[0]
    dataset.order_classes(['small', 'big'], 'a checkpoint')
    after = dataset[0]
    assert after['data_samples'].gt_instances.labels.equal(1 - before['data_samples'].gt_instances.labels)
    assert after['inputs'].equal(before['inputs'])


def test_a_subset_shares_the_places(ann_file, n_reads):
    dataset = build(ann_file)
    expected = [dataset[index] for index in range(3)]
    subset = dataset.get_subset([2, 0])
    assert_same(subset[0], expected[2])
    assert_same(subset[1], expected[0])
    assert list(n_reads) == [3, 3]


def test_a_lack_of_space_is_reported_once(ann_file, monkeypatch, messages):
    def refuse(*args):
        raise OSError(28, 'No space left on device')

    dataset = build(ann_file)
    monkeypatch.setattr(os, 'pwrite', refuse)
    assert_same_epochs(dataset, build(ann_file, cache_gib=0), 0)
    message, = messages
    assert 'No space left on device' in message


@pytest.mark.parametrize('changes', [
    dict(cache_gib=0), dict(test_mode=True), dict(loading_transforms=[dict(type='LoadImageFromFile'), *LOADING[1:]])])
def test_nothing_is_kept(ann_file, changes):
    dataset = build(ann_file, **changes)
    assert [getattr(part, 'decoded', None) for part in (dataset, *dataset.pipeline.transforms)] == [None] * 4
    assert dataset[0]['inputs'].shape == (3, *SIZES['a'])


def test_what_is_kept_depends_on_the_first_transforms(ann_file):
    n_bytes = [build(ann_file, loading_transforms=transforms).decoded.n_bytes for transforms in (
        LOADING, [LOADING[0], dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
        [LOADING[0], dict(type='LoadCellAnnotations', with_mask=False)])]
    assert n_bytes[0] > n_bytes[1] == n_bytes[2] > 0
    assert build(ann_file, test_mode=True, cache_gib=1).decoded.n_bytes == n_bytes[0]


@pytest.mark.parametrize('free, world_size, expected_mib', [(800, 1, 100), (800, 4, 25)])
def test_the_budget_is_an_eighth_of_the_free_memory(ann_file, monkeypatch, free, world_size, expected_mib):
    monkeypatch.setattr(decoded_images, 'find_free_memory', lambda: free * 2 ** 20)
    monkeypatch.setattr(decoded_images, 'get_world_size', lambda: world_size)
    assert build(ann_file).decoded.budget_bytes == expected_mib * 2 ** 20


def test_joined_data_sets_share_the_budget(ann_file, monkeypatch):
    n_bytes = build(ann_file, cache_gib=1).decoded.n_bytes
    monkeypatch.setattr(decoded_images, '_living', weakref.WeakSet())
    monkeypatch.setattr(decoded_images, 'find_free_memory', lambda: 8 * (n_bytes + n_bytes // 2))
    first, second, third = (build(ann_file, **own) for own in ({}, {}, {'cache_gib': 1}))
    assert [len(dataset.decoded) for dataset in (first, third)] == [3, 3] and 0 < len(second.decoded) < 3
    assert first.decoded.n_bytes + second.decoded.n_bytes <= n_bytes + n_bytes // 2
    # The places of another order of the classes are given in place of the earlier ones.
    monkeypatch.setattr(decoded_images, 'find_free_memory', lambda: 8 * (2 * n_bytes + second.decoded.n_bytes))
    first.order_classes(['small', 'big'], 'a checkpoint')
    assert len(first.decoded) == 3
    del first, third
    assert build(ann_file).decoded.n_bytes == n_bytes


@pytest.mark.parametrize('missing, expected', [
    ('free memory', 'this system does not say how much memory is free: set dataset.cache_gib'),
    ('sharing', 'this system cannot share memory in this way'), ('file', 'No space left on device')])
def test_without_what_it_needs_nothing_is_kept(ann_file, monkeypatch, messages, missing, expected):
    def refuse(layouts):
        raise OSError(28, 'No space left on device')

    name, value = {'free memory': ('find_free_memory', lambda: None), 'sharing': ('CAN_SHARE', False),
                   'file': ('SharedArrays', refuse)}[missing]
    monkeypatch.setattr(decoded_images, name, value)
    dataset = build(ann_file)
    assert dataset.decoded is None and dataset[0] is not None
    message, = messages
    assert message.startswith('decoded images are not kept: ') and message.endswith(expected)


def test_a_negative_budget_is_refused(ann_file):
    for wrong in (-1, float('nan')):
        with pytest.raises(ValueError, match='cache_gib must be at least 0'):
            build(ann_file, cache_gib=wrong)


def test_transforms_alone_keep_nothing():
    assert all(TRANSFORMS.build(transform).decoded is None for transform in LOADING)
