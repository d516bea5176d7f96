"""CellMaskHead compared with the stock FCNMaskHead: masks, dumps and Cascade Mask R-CNN."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import METRICS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmengine.utils import get_installed_path
from support.host_waits import counting_host_waits

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.predictions.dump_file import load_results

META = dict(ori_shape=(60, 80), img_shape=(90, 120), scale_factor=(1.5, 1.5), img_id=1, img_path='a.tif')
N_CLASSES = 3


def predicted(kind, n, rescale, activate_map=False, threshold=.5, class_agnostic=False, seed=0):
    """Detections of a mask head of this type for random logits and boxes, which depend only on the seed."""
    torch.manual_seed(seed)
    head = MODELS.build(dict(type=kind, num_convs=0, in_channels=8, num_classes=N_CLASSES,
                             class_agnostic=class_agnostic))
    corner = torch.rand(n, 2) * 80
    results = InstanceData(bboxes=torch.cat([corner, corner + 1 + torch.rand(n, 2) * 30], dim=1),
                           labels=torch.randint(0, N_CLASSES, (n,)), scores=torch.rand(n))
    logits = torch.randn(n, 1 if class_agnostic else N_CLASSES, 14, 14) * 3
    masks = logits.sigmoid() if activate_map else logits
    detections, = head.predict_by_feat((masks,), [results], [META], ConfigDict(mask_thr_binary=threshold),
                                       rescale=rescale, activate_map=activate_map)
    return detections


@pytest.mark.parametrize('rescale', [True, False])
@pytest.mark.parametrize('activate_map', [True, False], ids=['probabilities', 'logits'])
@pytest.mark.parametrize('class_agnostic', [True, False])
def test_the_same_detections_as_the_stock_head(rescale, activate_map, class_agnostic):
    ours, stock = (predicted(kind, 25, rescale, activate_map, class_agnostic=class_agnostic)
                   for kind in ('CellMaskHead', 'FCNMaskHead'))
    assert ours.bboxes.equal(stock.bboxes)
    assert np.array_equal(np.stack([pycocotools.mask.decode(rle) for rle in ours.masks]), stock.masks.numpy())
    assert ours.masks[0]['size'] == ([60, 80] if rescale else [90, 120])


@pytest.mark.parametrize('rescale', [True, False])
def test_sizes_are_rounded_as_the_stock_head_does(monkeypatch, rescale):
    # 135 * 1.1 is more than 148.5 in float32, but not in float64.
    monkeypatch.setitem(META, 'ori_shape', (135, 155))
    monkeypatch.setitem(META, 'scale_factor', (1.1, 1.1))
    ours, stock = (predicted(kind, 9, rescale) for kind in ('CellMaskHead', 'FCNMaskHead'))
    assert np.array_equal(np.stack([pycocotools.mask.decode(rle) for rle in ours.masks]), stock.masks.numpy())


@pytest.mark.parametrize('training', [True, False])
def test_masks_predicted_in_parts_equal_masks_predicted_at_once(training):
    torch.manual_seed(0)
    arguments = dict(num_convs=2, in_channels=8, conv_out_channels=8, num_classes=3, norm_cfg=dict(type='BN'))
    ours, stock = (MODELS.build(dict(type=kind, **arguments)) for kind in ('CellMaskHead', 'FCNMaskHead'))
    stock.load_state_dict(ours.state_dict())
    features = torch.randn(150, 8, 14, 14)
    with torch.no_grad():
        # In training, the statistics of BatchNorm depend on all RoIs, which must therefore not be split.
        masks = [head.train(training)(features) for head in (ours, stock)]
    torch.testing.assert_close(*masks)


def test_no_detections_and_probabilities_instead_of_masks():
    assert predicted('CellMaskHead', 0, True).masks == []
    assert predicted('CellMaskHead', 3, True, threshold=-1).masks.equal(
        predicted('FCNMaskHead', 3, True, threshold=-1).masks)


def test_detections_can_be_indexed():
    detections = predicted('CellMaskHead', 6, True)
    kept = detections[detections.scores > .4]
    assert 0 < len(kept.masks) == len(kept) < 6
    assert detections[torch.tensor([3, 1])].masks == [detections.masks[3], detections.masks[1]]


@pytest.mark.parametrize('n', [0, 5])
def test_the_dump_equals_the_stock_dump(tmp_path, n):
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


def cascade(head):
    """A narrow Cascade Mask R-CNN with random weights, which are the same in every call."""
    config = Config.fromfile(Path(get_installed_path('mmdet')) / '.mim/configs/_base_/models'
                             '/cascade-mask-rcnn_r50_fpn.py')
    config.merge_from_dict(dict(model=dict(
        backbone=dict(depth=18, stem_channels=8, base_channels=8, init_cfg=None),
        neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
        rpn_head=dict(in_channels=16, feat_channels=16),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
            mask_head=dict(type=head, in_channels=16, conv_out_channels=16, num_classes=N_CLASSES)),
        test_cfg=dict(rcnn=dict(score_thr=0., max_per_img=40)))))
    for box_head in config.model.roi_head.bbox_head:
        box_head.update(in_channels=16, fc_out_channels=32, num_classes=N_CLASSES)
    torch.manual_seed(0)
    built = MODELS.build(config.model)
    built.init_weights()
    return built.eval()


@pytest.mark.parametrize('score_threshold', [0., 1.], ids=['detections', 'no detection'])
def test_cascade_predicts_the_same_masks(score_threshold):
    init_default_scope('mmdet')
    detections_per_head = []
    for head in ('CellMaskHead', 'FCNMaskHead'):
        model = cascade(head)
        model.roi_head.test_cfg.score_thr = score_threshold
        images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
        samples = [DetDataSample(metainfo=dict(META, batch_input_shape=(96, 128), pad_shape=(96, 128)))
                   for _ in range(2)]
        with torch.no_grad():
            samples = model(images, samples, mode='predict')
        detections_per_head.append([sample.pred_instances for sample in samples])
    for ours, stock in zip(*detections_per_head, strict=True):
        assert (len(ours) > 20) == (score_threshold == 0) and ours.bboxes.equal(stock.bboxes)
        assert len(ours.masks) == len(stock.masks)
        for rle, mask in zip(ours.masks, stock.masks.numpy(), strict=True):
            assert np.array_equal(pycocotools.mask.decode(rle), mask)


def test_detections_without_a_mask_pixel_are_left_out():
    head = MODELS.build(dict(type='CellMaskHead', num_convs=0, in_channels=8, num_classes=N_CLASSES))
    results = InstanceData(bboxes=torch.tensor([[0., 0, 30, 30], [30, 30, 60, 60], [60, 60, 90, 90]]),
                           labels=torch.tensor([0, 1, 2]), scores=torch.tensor([.9, .8, .7]))
    logits = torch.full((3, N_CLASSES, 14, 14), -5.)
    logits[[0, 2], [0, 2]] = 5.
    detections, = head.predict_by_feat((logits,), [results], [META], ConfigDict(mask_thr_binary=.5), rescale=True)
    assert detections.labels.tolist() == [0, 2] and detections.scores.tolist() == pytest.approx([.9, .7])
    assert len(detections.masks) == len(detections.bboxes) == 2
    nothing, = head.predict_by_feat((logits[1:2],), [InstanceData(
        bboxes=torch.tensor([[30., 30, 60, 60]]), labels=torch.tensor([1]), scores=torch.tensor([.8]))], [META],
        ConfigDict(mask_thr_binary=.5), rescale=True)
    assert len(nothing) == 0 and nothing.masks == []


def sampled_images(n_cells):
    """Returns sampling results and ground truth of two images, with boxes that also leave the images."""
    rng = np.random.default_rng(0)
    sampled, truth = [], []
    for height, width in ((90, 120), (70, 60)):
        label_map = rng.integers(0, n_cells + 1, (height, width)).repeat(3, 0).repeat(3, 1)[:height, :width]
        corner = torch.from_numpy(rng.uniform(-20, 100, (2 * n_cells, 2)))
        boxes = torch.cat([corner, corner + torch.from_numpy(rng.uniform(0, 60, (2 * n_cells, 2)))], 1).float()
        boxes[0] = torch.tensor([10., 10., 10., 30.])
        masks = LabelMapMasks(label_map[None], np.zeros(n_cells, int), np.arange(1, n_cells + 1))
        truth.append(InstanceData(masks=masks))
        sampled.append(SimpleNamespace(pos_priors=boxes,
                                       pos_assigned_gt_inds=torch.from_numpy(rng.integers(0, n_cells, 2 * n_cells))))
    return sampled, truth


@pytest.mark.parametrize('soft', [True, False])
def test_the_same_targets_as_the_stock_head(soft):
    sampled, truth = sampled_images(12)
    cfg = ConfigDict(mask_size=(28, 14), soft_mask_target=soft)
    ours, stock = (MODELS.build(dict(type=kind, num_convs=0)).get_targets(sampled, truth, cfg)
                   for kind in ('CellMaskHead', 'FCNMaskHead'))
    assert ours.dtype == stock.dtype
    assert ours.equal(stock)
    assert 0 < ours.mean() < 1
    for image in sampled:
        image.pos_priors, image.pos_assigned_gt_inds = image.pos_priors[:0], image.pos_assigned_gt_inds[:0]
    assert MODELS.build(dict(type='CellMaskHead', num_convs=0)).get_targets(sampled, truth, cfg).shape == (0, 28, 14)


def test_a_device_is_waited_for_once_per_image_for_the_targets():
    head = MODELS.build(dict(type='CellMaskHead', num_convs=0))
    for n_cells in (3, 60):
        sampled, truth = sampled_images(n_cells)
        with counting_host_waits() as waits:
            head.get_targets(sampled, truth, ConfigDict(mask_size=28))
        assert len(waits) == len(sampled), waits
