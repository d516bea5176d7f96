"""The scale of images: from annotation files to what a model is shown, and to its checkpoint."""

import json

import numpy as np
import pytest
import tifffile
from mmdet.registry import TRANSFORMS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.datasets import CellDataset
from mmcell.errors import MmcellError
from mmcell.images.scale import find_rescaling, to_mpp
from mmcell.masks.rle import encode_label_map

CELLS = encode_label_map(discs((40, 60), [(1, 10, 10, 6), (2, 24, 30, 8)]))
LOAD = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations')]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture
def write(tmp_path):
    """Writes an annotation file of images of these scales."""
    def write(*mpps):
        images, annotations = [], []
        for number, mpp in enumerate(mpps, 1):
            tifffile.imwrite(tmp_path / f'{number}.tif', np.full((40, 60, 3), 200, np.uint8))
            images.append(dict(id=number, file_name=f'{number}.tif', height=40, width=60,
                               **({} if mpp is None else {'mpp': mpp})))
            annotations += [dict(id=10 * number + k, image_id=number, category_id=1, iscrowd=0, segmentation=rle,
                                 area=int(area), bbox=box.tolist()) for k, (rle, area, box) in enumerate(zip(
                                     CELLS.rles, CELLS.areas_px, CELLS.bboxes_xywh, strict=True))]
        path = tmp_path / 'train.json'
        path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories(['cell']),
                                        info=dict(data_root=str(tmp_path), channel_order='rgb'))))
        return str(path)
    return write


@pytest.mark.parametrize(('stated', 'arguments', 'expected', 'warns'), [
    ([.25, .25], {}, .25, False), ([.25, .26], {}, .255, False), ([.25, .5], {}, None, True),
    ([.25, None], {}, None, True), ([None, None], {}, None, False), (['x', -1], {}, None, False),
    ([.25, .5], dict(mpp=.3), .3, False),
    ([.25, .5], dict(pipeline=[*LOAD, dict(type='ResizeToScale', mpp=.4)]), .4, False)])
def test_a_data_set_knows_the_scale_that_a_model_is_shown(write, monkeypatch, stated, arguments, expected, warns):
    messages = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'log', lambda level, message: messages.append(message))
    dataset = CellDataset(ann_file=write(*stated), **{'pipeline': LOAD, **arguments})
    assert dataset.metainfo['mpp'] == (None if expected is None else pytest.approx(expected))
    assert any('learns one scale best' in message for message in messages) is warns


def test_images_of_mixed_scales_are_brought_to_one(write):
    dataset = CellDataset(ann_file=write(.25, .5), pipeline=[*LOAD, dict(type='ResizeToScale', mpp=.25)])
    for sample, factor in ((dataset[0], 1), (dataset[1], 2)):
        assert sample['img'].shape == (40 * factor, 60 * factor, 3) and sample['mpp'] == .25
        assert sample['gt_masks'].areas.tolist() == pytest.approx((CELLS.areas_px * factor ** 2).tolist(), rel=.1)
        assert tuple(sample['scale_factor']) == (factor, factor)


def test_a_scale_that_is_not_known_is_an_error(write):
    dataset = CellDataset(ann_file=write(None), pipeline=[*LOAD, dict(type='ResizeToScale', mpp=.25)])
    with pytest.raises(MmcellError, match='micrometres per pixel are not known'):
        dataset[0]
    with pytest.raises(ValueError, match='mpp must be from'):
        TRANSFORMS.build(dict(type='ResizeToScale', mpp=300))
    with pytest.raises(ValueError, match='mpp must be from'):
        CellDataset(ann_file=write(None), mpp=0.)


def test_rescaling_has_limits():
    assert find_rescaling(None, .25) == find_rescaling(.25, None) == find_rescaling(.27, .25) == 1.
    assert (find_rescaling(.5, .25), find_rescaling(.25, .5), find_rescaling(4, .25)) == (2., .5, 16.)
    for image_mpp, model_mpp in ((4.1, .25), (.25, 4.1)):
        with pytest.raises(ValueError, match='probably a mistake'):
            find_rescaling(image_mpp, model_mpp)
    assert [to_mpp(value) for value in (.25, 1, True, '1', float('nan'), 300, None)] == [.25, 1., *[None] * 5]
