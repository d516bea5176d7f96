"""With the same weights and images, torchvision's Mask R-CNN and ours have the same targets, losses and masks."""

import copy

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from support.torchvision_pairs import SIZES, Pair
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import box_iou

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.models import (
    TorchvisionAnchorGenerator,
    TorchvisionAssigner,
    TorchvisionBBoxCoder,
    TorchvisionMaskHead,
)

SIZE = 96, 160
MASK_HEAD = dict(num_convs=0, in_channels=4, conv_out_channels=4, num_classes=1)


def random_boxes(n, sides, seed=0, size=SIZE):
    """Boxes (n, 4) xyxy inside the frame, whose sides are between the two numbers."""
    generator = torch.Generator().manual_seed(seed)
    lengths = sides[0] + (sides[1] - sides[0]) * torch.rand(n, 2, generator=generator)
    begins = (torch.tensor(size[::-1]) - lengths) * torch.rand(n, 2, generator=generator)
    return torch.cat([begins, begins + lengths], dim=1)


def ellipses(boxes, size=SIZE):
    """Bitmaps (n, H, W) uint8 of the ellipses inside boxes."""
    y, x = torch.meshgrid(torch.arange(size[0]) + .5, torch.arange(size[1]) + .5, indexing='ij')
    center, radius = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    distance = sum(((grid - center[:, axis, None, None]) / radius[:, axis, None, None]).square()
                   for axis, grid in enumerate((x, y)))
    return (distance <= 1).to(torch.uint8)


def bitmaps_of(rles):
    return torch.from_numpy(np.stack([pycocotools.mask.decode(rle) for rle in rles])).bool()


def test_all_anchors_are_trained():
    generator = TorchvisionAnchorGenerator(strides=[4, 8], scales=[8], ratios=[.5, 1., 2.])
    flags = generator.valid_flags([(24, 40), (12, 20)], (64, 96), 'cpu')
    assert [level.shape for level in flags] == [(24 * 40 * 3,), (12 * 20 * 3,)] and all(level.all() for level in flags)


@pytest.mark.parametrize('stds', [(1., 1., 1., 1.), (.1, .1, .2, .2)])
def test_boxes_are_decoded_and_encoded_as_in_torchvision(stds):
    """The deltas include sides that become more than 62.5 times as long, or as short."""
    ours, theirs = TorchvisionBBoxCoder(target_stds=stds), BoxCoder(tuple(1 / std for std in stds))
    boxes = random_boxes(500, (8, 60))
    deltas = torch.randn(500, 12, generator=torch.Generator().manual_seed(1)) * torch.tensor([1., 1., 4., 4.]).repeat(3)
    deltas /= torch.tensor(stds).repeat(3)
    expected = theirs.decode(deltas, [boxes])
    sides = expected[..., 2:] - expected[..., :2]
    ratios = sides / (boxes[:, 2:] - boxes[:, :2])[:, None]
    assert (ratios > 62.4).any() and (ratios < 1 / 63).any()
    decoded = ours.decode(boxes, deltas)
    torch.testing.assert_close(decoded, expected.flatten(1), rtol=1e-5, atol=1e-3)
    clipped = ours.decode(boxes, deltas, max_shape=SIZE)
    assert torch.equal(clipped[:, 0::2], decoded[:, 0::2].clamp(0, SIZE[1]))
    cells = random_boxes(500, (8, 60), seed=2)
    torch.testing.assert_close(ours.encode(boxes, cells), theirs.encode([cells], [boxes])[0], rtol=1e-4, atol=1e-5)


# With three cells the stock method is called, with 40 only close pairs are compared.
@pytest.mark.parametrize('n_cells', [3, 40])
def test_low_quality_matches_go_to_the_best_cell_of_the_prior(n_cells):
    generator = TorchvisionAnchorGenerator(strides=[4, 8, 16, 32, 64], scales=[8], ratios=[.5, 1., 2.])
    priors = torch.cat(generator.grid_priors([(24, 40), (12, 20), (6, 10), (3, 5), (2, 3)], device='cpu'))
    cells = random_boxes(n_cells, (6, 22), seed=5)
    cells[1] = cells[0] + torch.tensor([3., 2., 1., 4.])  # two cells with the same best anchors
    labels = torch.arange(n_cells) % 4
    result = TASK_UTILS.build(dict(
        type='TorchvisionAssigner', pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=1e-6, ignore_iof_thr=-1)).assign(
        InstanceData(priors=priors), InstanceData(bboxes=cells, labels=labels))
    matched = Matcher(.7, .3, allow_low_quality_matches=True)(box_iou(cells, priors))
    expected = torch.where(matched >= 0, matched + 1, torch.where(matched == Matcher.BELOW_LOW_THRESHOLD, 0, -1))
    assert torch.equal(result.gt_inds, expected) and (expected > 0).sum() >= n_cells
    assert torch.equal(result.labels, torch.where(matched >= 0, labels[matched.clamp(min=0)], -1))
    stock = TASK_UTILS.build(dict(
        type='MaxIoUAssigner', pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=1e-6, ignore_iof_thr=-1)).assign(
        InstanceData(priors=priors), InstanceData(bboxes=cells, labels=labels))
    assert not torch.equal(stock.gt_inds, expected)


def test_an_image_without_cells_has_only_background():
    assigner = TorchvisionAssigner(.7, .3, min_pos_iou=1e-6)
    result = assigner.assign(InstanceData(priors=random_boxes(5, (8, 20))),
                             InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)))
    assert result.gt_inds.tolist() == [0] * 5


class Sampled:
    """The part of a sampling result that mask targets are made from."""

    def __init__(self, priors, indices):
        self.pos_priors, self.pos_assigned_gt_inds = priors, indices


@pytest.mark.parametrize('masks_class', [LabelMapMasks, BitmapMasks])
def test_mask_targets_are_shares_as_in_torchvision(masks_class):
    """Includes proposals of less than a pixel, and proposals at the right and the lower border."""
    cells = random_boxes(12, (6, 40))
    bitmaps = ellipses(cells)
    masks = (LabelMapMasks.from_bitmaps(bitmaps.numpy()) if masks_class is LabelMapMasks
             else BitmapMasks(bitmaps.numpy(), *SIZE))
    indices = torch.arange(60) % 12
    proposals = (cells[indices] + 4 * torch.randn(60, 4, generator=torch.Generator().manual_seed(3))).clamp(min=0)
    proposals = proposals.minimum(torch.tensor(SIZE[::-1]).repeat(2))
    proposals[:12] = cells
    proposals[12, 2:] = proposals[12, :2] + .25
    proposals[13] = torch.tensor([140., 80., 160., 96.])
    proposals[:, 2:] = proposals[:, 2:].maximum(proposals[:, :2] + .1)
    head = TorchvisionMaskHead(**MASK_HEAD)
    targets = head.get_targets([Sampled(proposals[:40], indices[:40]), Sampled(proposals[40:], indices[40:])],
                               [InstanceData(masks=masks)] * 2, ConfigDict(mask_size=28))
    expected = project_masks_on_boxes(bitmaps, proposals, indices, 28)
    assert targets.dtype == torch.float32 and ((expected > .01) & (expected < .99)).any()
    torch.testing.assert_close(targets, expected, rtol=0, atol=1e-5)
    assert head.get_targets([Sampled(proposals[:0], indices[:0])], [InstanceData(masks=masks)],
                            ConfigDict(mask_size=28)).shape == (0, 28, 28)


def predict_masks(probabilities, boxes, ori_shape, scale_factor=(1., 1.)):
    """Returns the bitmaps (n, H, W) that the head gives for boxes in px of the resized image."""
    head = TorchvisionMaskHead(**MASK_HEAD)
    results = InstanceData(bboxes=boxes.clone(), scores=torch.ones(len(boxes)),
                           labels=torch.zeros(len(boxes), dtype=torch.int64))
    meta = dict(ori_shape=ori_shape, scale_factor=scale_factor)
    [results] = head.predict_by_feat([probabilities.logit()], [results], [meta], ConfigDict(mask_thr_binary=.5), True)
    return results, bitmaps_of(results.masks)


@pytest.mark.parametrize('sides', [(1, 8), (8, 16), (16, 90)])
@pytest.mark.parametrize('scale', [1., 2.5])
def test_masks_are_pasted_as_in_torchvision(sides, scale):
    boxes = random_boxes(60, sides)
    boxes[0] = torch.tensor([150., 90., 160., 96.])
    boxes[1] = torch.tensor([0., 0., sides[1], sides[1]])
    smooth = torch.rand(60, 1, 7, 7, generator=torch.Generator().manual_seed(4))
    masks = torch.nn.functional.interpolate(smooth, (28, 28), mode='bicubic').clamp(.01, .99)
    expected = paste_masks_in_image(masks, boxes, SIZE)[:, 0] >= .5
    results, pasted = predict_masks(masks, boxes * scale, SIZE, (scale, scale))
    kept = expected.flatten(1).any(dim=1)
    assert len(results) == kept.sum() > 30
    # Resizing rounds in another order, which can change a pixel whose probability is one half.
    assert (pasted != expected[kept]).sum() <= 2


def test_boxes_without_extent_get_no_mask():
    boxes = torch.tensor([[5., 5., 5.005, 20.], [5., 5., 5.02, 20.], [30., 30., 50., 30.]])
    results, pasted = predict_masks(torch.full((3, 1, 28, 28), .9), boxes, SIZE)
    assert results.bboxes.tolist() == boxes[1:2].tolist() and pasted.sum() > 0


def test_probabilities_can_still_be_asked_for():
    """MMDetection asks for them with a threshold below 0, as bitmaps."""
    head = TorchvisionMaskHead(**MASK_HEAD)
    masks = head._predict_by_feat_single(
        torch.zeros(1, 1, 28, 28), torch.tensor([[2., 2., 30., 30.]]), torch.zeros(1, dtype=torch.int64),
        dict(ori_shape=(40, 40), scale_factor=(1., 1.)), ConfigDict(mask_thr_binary=-1), True)
    assert masks.dtype == torch.uint8 and int(masks.max()) == 127


class TrainingPair(Pair):
    """Both models with two images with cells, prepared so that both take the same samples for their losses."""

    def __init__(self, name):
        super().__init__(name)
        # Boxes stay near their anchors, so that proposals hit cells.
        for model, layer in ((self.theirs.rpn.head, 'bbox_pred'), (self.ours.rpn_head, 'rpn_reg')):
            getattr(model, layer).weight.data *= .05
            getattr(model, layer).bias.data *= .05
        self.cells = [random_boxes(12, (8, 60), 0, SIZES[0]), random_boxes(8, (8, 60), 1, SIZES[1])]
        self.labels = [torch.arange(len(cells)) % 4 for cells in self.cells]
        bitmaps = [ellipses(cells, size) for cells, size in zip(self.cells, SIZES, strict=True)]
        self.targets = [dict(boxes=cells, labels=labels + 1, masks=masks) for cells, labels, masks in zip(
            self.cells, self.labels, bitmaps, strict=True)]
        data = dict(inputs=self.images, data_samples=[DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)),
            gt_instances=InstanceData(bboxes=cells, labels=labels, masks=LabelMapMasks.from_bitmaps(masks.numpy())))
            for size, cells, labels, masks in zip(SIZES, self.cells, self.labels, bitmaps, strict=True)])
        self.samples = self.ours.data_preprocessor(data, training=True)['data_samples']
        self.theirs.rpn._post_nms_top_n['training'] = self.ours.train_cfg.rpn_proposal.max_per_img = 60
        # All proposals are sampled, because the two models have them in another order.
        self.theirs.roi_heads.fg_bg_sampler.batch_size_per_image = 10 ** 6
        self.ours.roi_head.bbox_sampler.num = 10 ** 6
        self.theirs.rpn.training = self.theirs.roi_heads.training = True

    def losses(self):
        """Returns the losses of torchvision, then ours, by name, and the proposals of both for the first image."""
        images = ImageList(self.batch, SIZES)
        proposals, theirs = self.theirs.rpn(images, self.their_features, self.targets)
        _, more = self.theirs.roi_heads(self.their_features, [boxes.clone() for boxes in proposals], SIZES,
                                        self.targets)
        # The RPN knows a single class.
        without_classes = copy.deepcopy(self.samples)
        for sample in without_classes:
            sample.gt_instances.labels.zero_()
        losses, results = self.ours.rpn_head.loss_and_predict(
            self.our_features, without_classes, proposal_cfg=self.ours.train_cfg.rpn_proposal)
        our_proposals = [result.bboxes.clone() for result in results]
        losses.update(self.ours.roi_head.loss(self.our_features, results, copy.deepcopy(self.samples)))
        names = dict(loss_objectness='loss_rpn_cls', loss_rpn_box_reg='loss_rpn_bbox', loss_classifier='loss_cls',
                     loss_box_reg='loss_bbox', loss_mask='loss_mask')
        return ({ours: float((theirs | more)[name]) for name, ours in names.items()},
                {name: float(sum(losses[name]) if isinstance(losses[name], list) else losses[name])
                 for name in names.values()}, proposals, our_proposals)


@pytest.fixture(scope='module')
def pair():
    with torch.no_grad():
        return TrainingPair('v1')


def assert_same_losses_and_proposals(pair, monkeypatch):
    # Both draw samples with this function, anchors in the same order.
    monkeypatch.setattr(torch, 'randperm', lambda n, **kwargs: torch.arange(n))
    with torch.no_grad():
        theirs, ours, their_proposals, our_proposals = pair.losses()
    assert ours == pytest.approx(theirs, rel=1e-4)
    for expected, proposals in zip(their_proposals, our_proposals, strict=True):
        assert len(expected) == len(proposals) > 40
        # Proposals with equal scores may come in another order.
        distances = torch.cdist(proposals.double(), expected.double())
        assert max(distances.amin(dim=0).max(), distances.amin(dim=1).max()) < .01


def test_losses_and_proposals(pair, monkeypatch):
    assert_same_losses_and_proposals(pair, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['v2', 'convnext'])
def test_losses_and_proposals_of_other_models(name, monkeypatch):
    with torch.no_grad():
        other = TrainingPair(name)
    assert_same_losses_and_proposals(other, monkeypatch)


def test_detections_of_images(pair):
    pair.theirs.eval()
    with torch.no_grad():
        # The random weights give few pixels with a probability above one half.
        pair.theirs.roi_heads.mask_predictor.mask_fcn_logits.bias += .3
        pair.ours.roi_head.mask_head.conv_logits.bias += .3
        pair.theirs.roi_heads.score_thresh = pair.ours.roi_head.test_cfg.score_thr = .3
        pair.theirs.rpn._post_nms_top_n['testing'] = pair.ours.rpn_head.test_cfg.max_per_img = 60
        pair.theirs.roi_heads.detections_per_img = pair.ours.roi_head.test_cfg.max_per_img = 40
        pair.theirs.transform.resize = lambda image, target=None: (image, target)
        theirs = pair.theirs([image / 255 for image in pair.images])
        ours = pair.ours.predict(pair.batch, [DetDataSample(metainfo=dict(
            img_shape=size, ori_shape=size, scale_factor=(1., 1.))) for size in SIZES])
    for expected, sample in zip(theirs, ours, strict=True):
        predicted = sample.pred_instances
        masks = expected['masks'][:, 0] >= .5
        kept = masks.flatten(1).any(dim=1)
        assert len(predicted) == kept.sum() > 10 and masks.sum() > 1000
        torch.testing.assert_close(predicted.bboxes, expected['boxes'][kept], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(predicted.scores, expected['scores'][kept], rtol=1e-4, atol=1e-5)
        assert torch.equal(predicted.labels + 1, expected['labels'][kept])
        assert (bitmaps_of(predicted.masks) != masks[kept]).sum() <= 1e-4 * masks.sum()
