import pickle

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import METRICS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.fileio import load
from mmengine.structures import InstanceData

from mmcell.results import load_results

META = dict(ori_shape=(60, 80), img_shape=(90, 120), scale_factor=(1.5, 1.5), img_id=1, img_path='a.tif')
N_CLASSES = 3


def predicted(kind, n, rescale, activate_map=False, threshold=.5, class_agnostic=False, seed=0):
    """Detections of a head for the same random features and boxes."""
    torch.manual_seed(seed)
    head = MODELS.build(dict(type=kind, num_convs=0, in_channels=8, num_classes=N_CLASSES,
                             class_agnostic=class_agnostic))
    corner = torch.rand(n, 2) * 80
    results = InstanceData(bboxes=torch.cat([corner, corner + 1 + torch.rand(n, 2) * 30], dim=1),
                           labels=torch.randint(0, N_CLASSES, (n,)), scores=torch.rand(n))
    logits = torch.randn(n, 1 if class_agnostic else N_CLASSES, 14, 14) * 3
    masks = logits.sigmoid() if activate_map else logits
    found, = head.predict_by_feat((masks,), [results], [META], ConfigDict(mask_thr_binary=threshold),
                                  rescale=rescale, activate_map=activate_map)
    return found


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('activate_map', [True, False], ids=['probabilities', 'logits'])
@pytest.mark.parametrize('class_agnostic', [True, False])
def test_the_same_detections_as_the_stock_head(rescale, activate_map, class_agnostic):
    ours, stock = (predicted(kind, 25, rescale, activate_map, class_agnostic=class_agnostic)
                   for kind in ('CellMaskHead', 'FCNMaskHead'))
    assert ours.bboxes.equal(stock.bboxes)
    assert np.array_equal(np.stack([pycocotools.mask.decode(rle) for rle in ours.masks]), stock.masks.numpy())
    assert ours.masks[0]['size'] == ([60, 80] if rescale else [90, 120])


def test_no_detection_and_probabilities_to_look_at():
    assert predicted('CellMaskHead', 0, True).masks == []
    assert predicted('CellMaskHead', 3, True, threshold=-1).masks.equal(
        predicted('FCNMaskHead', 3, True, threshold=-1).masks)


def test_detections_can_be_indexed():
    found = predicted('CellMaskHead', 6, True)
    kept = found[found.scores > .4]
    assert 0 < len(kept.masks) == len(kept) < 6
    assert found[torch.tensor([3, 1])].masks == [found.masks[3], found.masks[1]]


@pytest.mark.parametrize('n', [0, 5])
def test_the_dump_is_the_stock_one(tmp_path, n):
    for kind, dump in (('CellMaskHead', 'DumpCellResults'), ('FCNMaskHead', 'DumpDetResults')):
        metric = METRICS.build(dict(type=dump, out_file_path=str(tmp_path / f'{kind}.pkl')))
        sample = DetDataSample(metainfo=META, pred_instances=predicted(kind, n, True))
        sample.gt_instances = InstanceData(labels=torch.zeros(2))
        metric.process(None, [sample.to_dict()])
        metric.evaluate(1)
    ours, stock = (load(tmp_path / f'{kind}.pkl')[0] for kind in ('CellMaskHead', 'FCNMaskHead'))
    assert ours.keys() == stock.keys() and 'gt_instances' not in ours
    assert ours['pred_instances']['masks'] == stock['pred_instances']['masks']
    assert ours['pred_instances']['bboxes'].equal(stock['pred_instances']['bboxes'])
    assert pickle.dumps(ours['img_id']) == pickle.dumps(stock['img_id'])
    assert len(load_results(tmp_path / 'CellMaskHead.pkl')[0]['pred_instances']['masks']) == n
    assert sorted(path.name for path in tmp_path.iterdir()) == ['CellMaskHead.pkl', 'FCNMaskHead.pkl']
