import copy
import pickle
import tracemalloc

import numpy as np
import pycocotools.mask
import pytest
from mmdet.registry import TRANSFORMS
from support.synthetic_data import discs

from mmcell.annotations.coco_json import AnnotationError
from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.rle import encode_label_map


def sample_of(masks, shape=(40, 50)):
    """A sample as a data set passes it to its pipeline."""
    instances = [dict(bbox=[0., 0., 5., 5.], bbox_label=i % 3, ignore_flag=0, mask=mask)
                 for i, mask in enumerate(masks)]
    return dict(img_path='image.tif', ori_shape=shape, img_shape=shape, instances=instances)


def load(kind, sample, **kwargs):
    return TRANSFORMS.build(dict(type=kind, with_bbox=True, with_mask=True, **kwargs))(copy.deepcopy(sample))


CELLS = discs((40, 50), [(3, 10, 10, 6), (9, 10, 20, 6), (4, 30, 45, 8)])
COMPRESSED = encode_label_map(CELLS).rles
UNCOMPRESSED = [dict(size=[40, 50], counts=[405, 10, 30, 10, 1545]), dict(size=[40, 50], counts=[2000])]
POLYGONS = [[[5., 5., 20., 6., 18., 25., 4., 20.]], [[1., 1., 9., 1., 9., 9.], [30., 30., 45., 30., 45., 38.]]]
INVALID = [[[1., 2., 3., 4.]], [], dict(size=[40, 50])]


@pytest.mark.parametrize('masks', [
    [], COMPRESSED, COMPRESSED + COMPRESSED[:1], UNCOMPRESSED, POLYGONS, COMPRESSED + UNCOMPRESSED + POLYGONS, INVALID,
    COMPRESSED + INVALID,
], ids=['none', 'compressed', 'twice', 'uncompressed', 'polygons', 'all kinds', 'invalid', 'some invalid'])
def test_masks_equal_those_of_the_stock_loader(masks):
    ours, stock = (load(kind, sample_of(masks)) for kind in ('LoadCellAnnotations', 'LoadAnnotations'))
    assert isinstance(ours['gt_masks'], LabelMapMasks)
    assert np.array_equal(ours['gt_masks'].to_ndarray(), stock['gt_masks'].to_ndarray().reshape(-1, 40, 50))
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        assert np.array_equal(ours[key], stock[key])
    assert ours['gt_bboxes'].tensor.equal(stock['gt_bboxes'].tensor)
    assert np.array_equal(pickle.loads(pickle.dumps(ours['gt_masks'])).areas, stock['gt_masks'].areas)


@pytest.mark.parametrize('mask, message', [
    (dict(size=[40, 51], counts=[2040]),
     r'image\.tif: an RLE has the size \[40, 51\], but the image has the size \[40, 50\]'),
    (dict(size=[40, 50], counts=[1999]), r'image\.tif: '),
    (dict(size=[40, 50], counts='###'), r'image\.tif: '),
])
def test_a_bad_rle_is_named_with_its_image(mask, message):
    with pytest.raises(AnnotationError, match=message):
        load('LoadCellAnnotations', sample_of([*COMPRESSED, mask]))


def test_keeping_polygons_is_refused():
    with pytest.raises(ValueError, match='poly2mask=False'):
        TRANSFORMS.build(dict(type='LoadCellAnnotations', poly2mask=False))


@pytest.mark.parametrize('shape, expected', [
    ((30, 40), (30, 40)), ((64, 64), (64, 64)), ((65, 10), (64, 10)), ((100, 200), (32, 64)), ((1, 1), (1, 1)),
    ((1000, 1), (64, 1)), ((2, 5000), (1, 64)),
])
def test_only_longer_images_are_shrunk(shape, expected):
    height, width = shape
    rle = pycocotools.mask.encode(np.asfortranarray(np.ones(shape, np.uint8)))
    sample = load('LoadCellAnnotations', sample_of([{**rle, 'counts': rle['counts'].decode()}], shape))
    sample['img'] = np.zeros((*shape, 3), np.uint8)
    capped = TRANSFORMS.build(dict(type='CapLongSide', max_side=64))(sample)
    assert capped['img'].shape[:2] == capped['img_shape'] == expected
    assert (capped['gt_masks'].height, capped['gt_masks'].width) == expected
    assert capped['gt_masks'].areas.tolist() == [expected[0] * expected[1]]
    assert capped['scale_factor'] == pytest.approx((expected[1] / width, expected[0] / height), rel=.02)


def test_the_limit_is_checked():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        TRANSFORMS.build(dict(type='CapLongSide', max_side=0))


def test_the_memory_of_loading_does_not_grow_with_the_number_of_cells():
    label_map = np.kron(np.arange(1, 901, dtype=np.int32).reshape(30, 30), np.ones((10, 10), np.int32))
    sample = sample_of(encode_label_map(label_map).rles, (300, 300))
    load('LoadCellAnnotations', sample)
    tracemalloc.start()
    loaded = TRANSFORMS.build(dict(type='LoadCellAnnotations'))(sample)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(loaded['gt_masks']) == 900
    # Bitmaps of 900 cells would take 900 bytes per pixel of the image.
    assert peak < 60 * label_map.size < 900 * label_map.size
