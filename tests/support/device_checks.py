"""What must hold on every device. The functions are called with 'cpu' by fast tests and with 'cuda' by tests/cuda."""

import math
from types import SimpleNamespace

import numpy as np
import torch
from mmcv.ops import batched_nms, modulated_deform_conv2d, nms, roi_align
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from support.boxes import anchors, cell_boxes, in_batches
from support.configs import load
from support.host_waits import counting_host_waits
from support.synthetic_data import discs

from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import Predictor
from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.pasting import paste_masks
from mmcell.models import SparseMaxIoUAssigner

SIDE = 96
RPN = dict(pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=.3)


def check_ops(device):
    """The replacements of mmcv's ops: NMS equals that of the CPU, RoIAlign and deformable convolution nearly do."""
    torch.manual_seed(0)
    boxes = cell_boxes(300, (200, 200))
    scores, labels = torch.rand(300), torch.arange(300) % 4
    assert nms(boxes.to(device), scores.to(device), .5)[1].tolist() == nms(boxes, scores, .5)[1].tolist()
    kept, expected = (batched_nms(boxes.to(where), scores.to(where), labels.to(where),
                                  dict(type='nms', iou_threshold=.5))[1] for where in (device, 'cpu'))
    assert kept.tolist() == expected.tolist()
    rois = torch.cat([torch.zeros(40, 1), boxes[:40]], dim=1)
    features, offset, mask, weight = (
        torch.rand(shape) for shape in ((1, 4, 50, 50), (1, 18, 50, 50), (1, 9, 50, 50), (3, 4, 3, 3)))
    for compute in (lambda on: roi_align(features.to(on).requires_grad_(), rois.to(on), 7, .25, 0, 'avg', True),
                    lambda on: modulated_deform_conv2d(features.to(on).requires_grad_(), offset.to(on), mask.to(on),
                                                       weight.to(on), None, 1, 1)):
        result, expected = compute(device), compute('cpu')
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-4)
        result.square().sum().backward()


def check_assignment(device):
    """The sparse assigner equals the stock one on the CPU, also where overlaps are equal."""
    priors, boxes = anchors(4, (128, 128)), cell_boxes(80, (128, 128))  # a tenth of the boxes equals another box
    labels = torch.arange(80) % 4
    expected = MaxIoUAssigner(**RPN).assign(InstanceData(priors=priors), InstanceData(bboxes=boxes, labels=labels))
    result = SparseMaxIoUAssigner(**RPN).assign(
        InstanceData(priors=priors.to(device)), InstanceData(bboxes=boxes.to(device), labels=labels.to(device)))
    assert result.gt_inds.device.type == torch.device(device).type
    assert (expected.gt_inds > 0).sum() > 80
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        assert getattr(result, name).cpu().equal(getattr(expected, name)), name


def check_targets(device):
    """Mask targets stay on the device and equal those of the stock head on the CPU."""
    sampled, truth = _sampled_image(60, device)
    cfg = ConfigDict(mask_size=28)
    ours = MODELS.build(dict(type='CellMaskHead', num_convs=0)).get_targets(sampled, truth, cfg)
    stock = MODELS.build(dict(type='FCNMaskHead', num_convs=0)).get_targets(*_sampled_image(60, 'cpu'), cfg)
    assert ours.device.type == torch.device(device).type
    assert ours.cpu().equal(stock)


def check_pasting(device):
    """Pasted masks equal those of the CPU but for single pixels whose probability is at the threshold."""
    for beyond_box in (False, True):
        probabilities, boxes = _masks_in_boxes(400)
        boxes[:4] = torch.tensor([[-50., -50, -10, -10], [3, 3, 3, 9], [math.nan] * 4, [-20, -20, 900, 900]])
        ours, expected = (paste_masks(probabilities.to(where), boxes.to(where), 500, 400, .5, beyond_box=beyond_box)
                          for where in (device, 'cpu'))
        assert ours.n_runs[[0, 2]].tolist() == [0, 0]
        different = np.setxor1d(*(masks.positions + 500 * 400 * np.repeat(np.arange(400), masks.areas_px)
                                  for masks in (ours, expected)))
        assert len(different) <= 1e-4 * expected.areas_px.sum()
    default = paste_masks(probabilities.to(device), boxes.to(device), 500, 400, .5)
    explicit = paste_masks(probabilities.to(device), boxes.to(device), 500, 400, .5, beyond_box=device != 'cpu')
    assert default.to_rles() == explicit.to_rles()


def check_host_waits(device):
    """Returns how often the host waits in assignment, targets and pasting; the number of cells has no influence."""
    counts = []
    for n_cells in (60, 300):
        priors, boxes = anchors(4, (256, 256)).to(device), cell_boxes(n_cells, (256, 256)).to(device)
        truth = InstanceData(bboxes=boxes, labels=torch.zeros(n_cells, dtype=torch.long, device=device))
        head, images = MODELS.build(dict(type='CellMaskHead', num_convs=0)), _sampled_image(n_cells, device)
        probabilities, pasted_boxes = (values.to(device) for values in _masks_in_boxes(n_cells))
        works = dict(
            assignment=lambda: SparseMaxIoUAssigner(**RPN).assign(InstanceData(priors=priors), truth),  # noqa: B023
            targets=lambda: head.get_targets(*images, ConfigDict(mask_size=28)),  # noqa: B023
            pasting=lambda: paste_masks(probabilities, pasted_boxes, 500, 400, .5))  # noqa: B023
        counts.append({})
        for name, work in works.items():
            with in_batches(1 << 23), counting_host_waits(device) as waits:  # as many pairs at a time as on a GPU
                work()
            counts[-1][name] = len(waits)
    assert counts[0] == counts[1], counts
    assert all(0 < n <= 12 for n in counts[0].values()), counts
    return counts[0]


def check_training_step(device, dtype=None, memory_format=torch.contiguous_format):
    """A step has finite gradients, and losses near those of float32 in the usual memory format on the CPU.

    With a dtype of half precision only the losses of the RPN are compared, because the weights are random: rounding
    decides which proposals the other losses are computed for.
    """
    expected, _ = _losses_and_gradients('cpu', None, torch.contiguous_format)
    allows_tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        losses, gradients = _losses_and_gradients(device, dtype, memory_format)
    finally:
        torch.backends.cudnn.allow_tf32 = allows_tf32
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    for name, value in expected.items():
        assert math.isfinite(losses[name])
        if dtype is None or 'rpn' in name:
            assert math.isclose(losses[name], value, rel_tol=.02 if dtype else 1e-3, abs_tol=1e-4), (
                name, losses[name], value)


def check_prediction(device):
    """Cells predicted whole, in tiles and with views have scores near those of the CPU."""
    image = _image().permute(1, 2, 0).numpy()
    for plan, with_views in ((PredictionPlan('whole'), False), (PredictionPlan('tiled', tile_px=64), False),
                             (PredictionPlan('whole'), True)):
        scores = []
        for where in ('cpu', device):
            predictor = Predictor(tiny_model().to(where).eval(), with_views=with_views, tile_px=64, overlap_px=16)
            detected = predictor.predict(image, plan).cells
            assert len(detected) and len(detected.masks) == len(detected)
            scores.append(np.sort(detected.scores)[::-1][:3])
        np.testing.assert_allclose(*scores, atol=5e-3)


def tiny_model():
    """Returns a Mask R-CNN with a narrow ResNet-18 and random weights, which depend on nothing, on the CPU."""
    torch.manual_seed(0)
    cfg = load('cell/mask-rcnn_r18_demo')
    model = cfg.model
    model.backbone.update(stem_channels=8, base_channels=8, zero_init_residual=False)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.out_channels = model.roi_head.mask_roi_extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=1)
    model.test_cfg.rcnn.update(score_thr=0., max_per_img=20)
    # All anchors and proposals take part in the losses, because samples are drawn from another generator on a GPU.
    model.train_cfg.rpn.sampler.num = model.train_cfg.rcnn.sampler.num = 10**6
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=50)
    detector = MODELS.build(model)
    detector.init_weights()
    # More than half of the pixels of most boxes are inside. Cells without a pixel are left out.
    torch.nn.init.ones_(detector.roi_head.mask_head.conv_logits.bias)
    detector.cfg, detector.dataset_meta = cfg, dict(classes=('a', 'b', 'c', 'd'), channel_order='rgb')
    return detector


def _losses_and_gradients(device, dtype, memory_format):
    model = tiny_model().to(device).to(memory_format=memory_format).train()
    label_map = discs((SIDE, SIDE), [(i + 1, 16 + 30 * (i // 3), 16 + 30 * (i % 3), 10) for i in range(9)])
    masks = LabelMapMasks.from_label_maps([label_map])
    sample = DetDataSample(metainfo=dict(img_id=1, img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE),
                                         scale_factor=(1., 1.)))
    sample.gt_instances = InstanceData(masks=masks, labels=torch.arange(9) % 4, bboxes=masks.get_bboxes('hbox').tensor)
    batch = model.data_preprocessor(dict(inputs=[_image()], data_samples=[sample]), training=True)
    with torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not None):
        losses = model(**batch, mode='loss')
    total, values = model.parse_losses(losses)
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return {name: value.item() for name, value in values.items() if 'loss' in name}, gradients


def _image():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE), np.uint8))


def _sampled_image(n_cells, device):
    rng = np.random.default_rng(0)
    label_map = rng.integers(0, n_cells + 1, (60, 60)).repeat(3, 0).repeat(3, 1)
    masks = LabelMapMasks(label_map[None], np.zeros(n_cells, int), np.arange(1, n_cells + 1))
    corner = torch.from_numpy(rng.uniform(-20, 150, (n_cells, 2)))
    boxes = torch.cat([corner, corner + torch.from_numpy(rng.uniform(0, 60, (n_cells, 2)))], dim=1).float()
    inds = torch.from_numpy(rng.integers(0, n_cells, n_cells))
    return ([SimpleNamespace(pos_priors=boxes.to(device), pos_assigned_gt_inds=inds.to(device))],
            [InstanceData(masks=masks)])


def _masks_in_boxes(n):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=generator) * 420 - 20
    boxes = torch.cat([corner, corner + 5 + torch.rand(n, 2, generator=generator) * 80], dim=1)
    return torch.rand(n, 28, 28, generator=generator), boxes
