"""Converted weights of torchvision's Mask R-CNN give the same features, scores, deltas and mask logits."""

import argparse
import logging
import re
import subprocess
import sys

import convert_torchvision
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.structures import InstanceData
from support.paths import REPO
from support.torchvision_pairs import MODELS_BY_NAME, N_CLASSES, SIZES, Pair, build, frozen_v1, randomize
from torch import nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import _default_anchorgen
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou
from torchvision.ops.poolers import LevelMapper

from mmcell.checkpoints.torchvision_weights import TorchvisionWeightsError, convert_mask_rcnn
from mmcell.models import TorchvisionAnchorGenerator

# Boxes xyxy for all four levels, whose limits are sides of 112, 224 and 448 px; some boxes extend beyond the image.
BOXES = torch.tensor([[3., 5., 20., 40.], [10.5, 20.25, 90.75, 70.5], [0., 0., 112., 112.], [-20., -30., 150., 160.],
                      [0., 0., 224., 224.], [-90., -60., 250., 300.], [-200., -200., 300., 300.], [1., 2., 449., 450.],
                      [60., 30., 60.5, 30.25]])


# The fast tests use the two models that torchvision publishes; the others combine the same parts differently.
@pytest.fixture(scope='module', params=[
    name if name in ('v1', 'v2') else pytest.param(name, marks=pytest.mark.slow) for name in MODELS_BY_NAME])
def pair(request):
    with torch.no_grad():
        return Pair(request.param)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def assert_equal(ours, theirs):
    """Asserts equality up to a tolerance relative to the largest value, and that the values are not constant."""
    assert theirs.std() > .01 * theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_images_are_preprocessed_in_the_same_way(pair):
    samples = [DetDataSample(metainfo=dict(img_shape=image.shape[1:])) for image in pair.images]
    ours = pair.ours.data_preprocessor(dict(inputs=pair.images, data_samples=samples))['inputs']
    assert ours.shape == (2, 3, 96, 160)
    torch.testing.assert_close(ours, pair.batch, rtol=1e-5, atol=1e-5)


def test_features(pair):
    assert [tuple(level.shape[2:]) for level in pair.our_features] == [(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)]
    for ours, theirs in zip(pair.our_features, pair.their_features.values(), strict=True):
        assert_equal(ours, theirs)


def test_scores_and_deltas_of_the_rpn(pair):
    outputs = zip(pair.ours.rpn_head(pair.our_features), pair.theirs.rpn.head(list(pair.their_features.values())),
                  strict=True)
    for our_levels, their_levels in outputs:
        assert len(our_levels) == 5
        for ours, theirs in zip(our_levels, their_levels, strict=True):
            assert_equal(ours, theirs)


def test_scores_and_deltas_of_boxes(pair):
    logits, deltas = pair.theirs.roi_heads.box_predictor(pair.theirs.roi_heads.box_head(
        pair.theirs.roi_heads.box_roi_pool(pair.their_features, [BOXES, BOXES.flip(0)], SIZES)))
    ours = pair.ours.roi_head._bbox_forward(pair.our_features, bbox2roi([BOXES, BOXES.flip(0)]))
    assert_equal(ours['cls_score'], torch.cat([logits[:, 1:], logits[:, :1]], dim=1))
    assert_equal(ours['bbox_pred'], deltas[:, 4:])
    their_boxes = pair.theirs.roi_heads.box_coder.decode(deltas, [BOXES, BOXES.flip(0)])
    our_boxes = pair.ours.roi_head.bbox_head.bbox_coder.decode(torch.cat([BOXES, BOXES.flip(0)]), ours['bbox_pred'])
    assert_equal(our_boxes, their_boxes[:, 1:].flatten(1))


def test_mask_logits_of_boxes(pair):
    heads = pair.theirs.roi_heads
    theirs = heads.mask_predictor(heads.mask_head(
        heads.mask_roi_pool(pair.their_features, [BOXES, BOXES.flip(0)], SIZES)))
    ours = pair.ours.roi_head._mask_forward(pair.our_features, bbox2roi([BOXES, BOXES.flip(0)]))['mask_preds']
    assert ours.shape == (2 * len(BOXES), N_CLASSES, 28, 28)
    assert_equal(ours, theirs[:, 1:])


def test_boxes_are_assigned_to_the_same_levels():
    extractor = MODELS.build(dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=7),
                                  out_channels=1, featmap_strides=[4, 8, 16, 32]))
    levels = extractor.map_roi_levels(bbox2roi([BOXES]), 4)
    assert levels.tolist() == LevelMapper(2, 5)([BOXES]).tolist()
    assert set(levels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize('size', [(96, 160), (64, 64), (800, 1344), (512, 512), (32, 224)])
@pytest.mark.parametrize('ratios', [[.5, 1., 2.], [.25, .75, 3.]])
def test_anchors_are_equal_bit_for_bit(size, ratios):
    ours = TorchvisionAnchorGenerator(strides=[4, 8, 16, 32, 64], scales=[8], ratios=ratios)
    theirs = AnchorGenerator(tuple((32 * 2 ** i,) for i in range(5)), (tuple(ratios),) * 5)
    grids = [torch.Size(-(-side // stride) for side in size) for stride in (4, 8, 16, 32, 64)]
    images = ImageList(torch.zeros(1, 3, *size), [size])
    anchors = ours.grid_priors(grids, device='cpu')
    assert torch.equal(torch.cat(anchors), theirs(images, [torch.zeros(1, 1, *grid) for grid in grids])[0])
    assert ours.strides[4] == (64, 64)


def test_anchors_of_all_models_equal_the_anchors_of_torchvision():
    for theirs in MODELS_BY_NAME:
        cfg = Config.fromfile(REPO / 'configs' / 'cell' / f'{MODELS_BY_NAME[theirs][1]}.py')
        generator = TASK_UTILS.build(cfg.model.rpn_head.anchor_generator)
        assert torch.equal(torch.stack(generator.base_anchors), torch.stack(_default_anchorgen().cell_anchors))
        assert generator.base_anchors[0][2].tolist() == [-11, -23, 11, 23]


def test_limits_and_thresholds_are_those_of_torchvision():
    theirs = frozen_v1(0.)
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50_tv-v1.py').model
    rpn, heads = theirs.rpn, theirs.roi_heads
    for ours, mode in ((cfg.train_cfg.rpn_proposal, 'training'), (cfg.test_cfg.rpn, 'testing')):
        assert (ours.nms_pre, ours.max_per_img, ours.nms.iou_threshold) == (
            rpn._pre_nms_top_n[mode], rpn._post_nms_top_n[mode], rpn.nms_thresh)
    ours = cfg.test_cfg.rcnn
    assert (ours.max_per_img, ours.score_thr, ours.nms.iou_threshold) == (
        heads.detections_per_img, heads.score_thresh, heads.nms_thresh)
    for ours, sampler in ((cfg.train_cfg.rpn.sampler, rpn), (cfg.train_cfg.rcnn.sampler, heads)):
        sampler = sampler.fg_bg_sampler
        assert (ours.num, ours.pos_fraction) == (sampler.batch_size_per_image, sampler.positive_fraction)


def test_cells_are_matched_with_the_same_priors():
    """Includes cells too small for an IoU of .3 with any anchor. Only whether a prior is matched is compared."""
    backbone = nn.Identity()
    backbone.out_channels = 1
    theirs = MaskRCNN(backbone, N_CLASSES + 1)
    train_cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50_tv-v1.py').model.train_cfg
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(30, 4, generator=generator) * torch.tensor([130., 70., 16., 16.])
    cells[:, 2:] += cells[:, :2] + 6
    [anchors] = _default_anchorgen()(ImageList(torch.zeros(1, 3, 96, 160), [(96, 160)]),
                                     [torch.zeros(1, 1, 96 // stride, 160 // stride) for stride in (4, 8, 16, 32, 64)])
    proposals = torch.cat([cells + 3 * torch.randn(30, 4, generator=generator) for _ in range(10)])
    ious = box_iou(cells, anchors)
    assert (ious.amax(dim=1) < .3).sum() > 10
    for assigner, matcher, priors in ((train_cfg.rpn.assigner, theirs.rpn.proposal_matcher, anchors),
                                      (train_cfg.rcnn.assigner, theirs.roi_heads.proposal_matcher, proposals)):
        ours = TASK_UTILS.build(assigner).assign(
            InstanceData(priors=priors), InstanceData(bboxes=cells, labels=torch.zeros(30, dtype=torch.int64))).gt_inds
        matched = matcher(box_iou(cells, priors))
        assert torch.equal(ours > 0, matched >= 0) and torch.equal(ours == 0, matched == matcher.BELOW_LOW_THRESHOLD)
        assert (ours > 0).sum() > 20


@pytest.fixture(scope='module')
def frozen():
    """State dict of v1 with frozen norms and 4 classes."""
    return randomize(frozen_v1(1e-5)).state_dict()


def with_classes(state, n_classes):
    """The state dict with another number of classes; the layers that depend on it are zeros."""
    return {name: tensor.new_zeros(tensor.shape[0] // (N_CLASSES + 1) * (n_classes + 1), *tensor.shape[1:])
            if 'box_predictor' in name or 'mask_fcn_logits' in name else tensor for name, tensor in state.items()}


@pytest.mark.slow
def test_frozen_norms_of_90_classes_have_the_epsilon_of_the_published_weights(frozen):
    ours = convert_mask_rcnn(frozen)
    assert ours.frozen_bn_eps == 1e-5 and ours.n_classes == 4
    assert torch.equal(ours.state_dict['backbone.bn1.weight'], frozen['backbone.body.bn1.weight'])
    published = convert_mask_rcnn(with_classes(frozen, 90))
    assert published.frozen_bn_eps == 0 and published.n_classes == 90
    variance = frozen['backbone.body.bn1.running_var'].double()
    torch.testing.assert_close(
        published.state_dict['backbone.bn1.weight'].double() / (variance + 1e-5).sqrt(),
        frozen['backbone.body.bn1.weight'].double() / variance.sqrt(), rtol=1e-6, atol=0)
    assert convert_mask_rcnn(with_classes(frozen, 90), frozen_bn_eps=1e-5).frozen_bn_eps == 1e-5
    counters = {f'{name.removesuffix("running_var")}num_batches_tracked': torch.tensor(7) for name in frozen
                if name.endswith('running_var')}
    counted = convert_mask_rcnn({**with_classes(frozen, 90), **counters})
    assert counted.frozen_bn_eps is None and counted.state_dict['backbone.bn1.num_batches_tracked'] == 7
    assert torch.equal(counted.state_dict['backbone.bn1.weight'], frozen['backbone.body.bn1.weight'])
    assert torch.equal(convert_mask_rcnn({**frozen, **counters}, frozen_bn_eps=0.).state_dict['backbone.bn1.weight'],
                       published.state_dict['backbone.bn1.weight'])


def test_the_names_of_older_files_are_known(frozen):
    old = {}
    for name, tensor in frozen.items():
        name = re.sub(r'(_blocks\.\d)\.0', r'\1', name).replace('rpn.head.conv.0.0.', 'rpn.head.conv.')
        name = re.sub(r'mask_head\.(\d)\.0', lambda match: f'mask_head.mask_fcn{int(match[1]) + 1}', name)
        old[name] = tensor
    assert sum(name not in frozen for name in old) == 2 * (8 + 1 + 4)
    expected, converted = convert_mask_rcnn(frozen).state_dict, convert_mask_rcnn(old).state_dict
    assert expected.keys() == converted.keys()
    assert all(torch.equal(tensor, converted[name]) for name, tensor in expected.items())


def test_other_state_dicts_are_refused(frozen):
    def without(*parts):
        return {name: tensor for name, tensor in frozen.items() if not any(part in name for part in parts)}

    cases = [
        (without('mask'), 'not the weights of a torchvision Mask R-CNN.*no tensor roi_heads.mask_predictor'),
        (without('fpn'), 'not the weights .* a feature pyramid'),
        ({'epoch': 3, 'optimizer': {}}, 'not the weights .* begin with epoch, optimizer'),
        (without('layer3.1.bn2.running_mean', 'fc7.bias'),
         '2 tensors .* are missing: backbone.body.layer3.1.bn2.running_mean, roi_heads.box_head.fc7.bias$'),
        (without('layer4'), r'missing: backbone.body.layer4.0.bn1.bias, .*, … and \d+ more$'),
        ({**frozen, 'roi_heads.keypoint.weight': torch.zeros(1)}, '1 tensors .* unknown: roi_heads.keypoint.weight$'),
        ({**frozen, 'roi_heads.mask_predictor.mask_fcn_logits.weight': torch.zeros(7, 256, 1, 1)},
         "different numbers of classes: .*'mask_predictor.mask_fcn_logits': 7"),
    ]
    for state, message in cases:
        with pytest.raises(TorchvisionWeightsError, match=message):
            convert_mask_rcnn(state)


def test_the_command_reports_errors(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    monkeypatch.setattr(sys, 'argv', ['convert_torchvision.py', str(source), '--out', str(out)])
    for content, message in (({'weight': torch.ones(1)}, 'other.pth: not the weights of a torchvision Mask R-CNN'),
                             ({'model': {}, 'args': argparse.Namespace()}, 'add --trust-checkpoint')):
        torch.save(content, source)
        assert convert_torchvision.main() == 1
        assert message in capsys.readouterr().err
        assert not out.exists()


def test_the_command_opens_files_of_the_training_script_of_torchvision(tmp_path, monkeypatch, capsys, frozen):
    source, out = tmp_path / 'model_25.pth', tmp_path / 'out.pth'
    torch.save({'model': frozen, 'epoch': 25, 'args': argparse.Namespace()}, source)
    monkeypatch.setattr(sys, 'argv', ['convert_torchvision.py', str(source), '--out', str(out), '--trust-checkpoint'])
    assert convert_torchvision.main() == 0
    # Each of the 53 norms gets a counter.
    assert (f'ResNet, v1 heads, 4 classes, {len(frozen) + 53} tensors, frozen BatchNorm with epsilon 1e-05'
            in capsys.readouterr().out)
    assert torch.load(out, weights_only=True)['meta'] == {'converted_from': 'model_25.pth'}


@pytest.mark.slow
def test_a_file_of_coco_weights_starts_a_model_of_four_classes(tmp_path, caplog):
    theirs = randomize(maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)).state_dict()
    torch.save(theirs, tmp_path / 'theirs.pth')
    out = tmp_path / 'weights' / 'ours.pth'
    command = [sys.executable, str(REPO / 'tools' / 'convert_torchvision.py'), str(tmp_path / 'theirs.pth'),
               '--out', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f'ResNet, v2 heads, 90 classes, {len(theirs)} tensors' in done.stdout
    ours = build('mask-rcnn_r50_tv-v2')
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    load_checkpoint(ours, str(out), map_location='cpu', logger=logging.getLogger('test'))
    converted = torch.load(out, weights_only=True)['state_dict']
    class_layers = {name for name in before if re.search('fc_cls|fc_reg|conv_logits', name)}
    assert len(class_layers) == 6 and converted.keys() == before.keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, before[name] if name in class_layers else converted[name])
    [warning] = caplog.messages
    assert all(f'size mismatch for {name}' in warning for name in class_layers)
    assert warning.count('size mismatch') == 6 and 'missing' not in warning and 'unexpected' not in warning
