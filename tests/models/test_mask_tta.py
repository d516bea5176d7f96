"""Test-time augmentation compared with plain prediction.

Real networks are compared for one view at a time. A toy network whose predictions flip, turn and scale with the image
is compared for all views at once.
"""

import numpy as np
import pycocotools.mask
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.detectors.base import BaseDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from scipy import ndimage
from support.paths import REPO
from torch import nn

from mmcell.boxes.views import View, boxes_from_view
from mmcell.errors import MmcellError
from mmcell.models import CellMaskHead, MaskTTAModel

init_default_scope('mmdet')
PLAIN = dict(scales=(1.,), flips=(None,), turns=(0,))
ORIENTATIONS = [View(1., flip, turns) for flip in (None, 'horizontal', 'vertical') for turns in range(4)]


def decoded(masks, shape):
    return np.stack([pycocotools.mask.decode(rle) for rle in masks]) if masks else np.zeros((0, *shape), np.uint8)


def sample_of(image, ori_shape=None):
    """Data sample of an image (3, H, W) that was resized from ``ori_shape``."""
    shape = tuple(image.shape[1:])
    ori_shape = ori_shape or shape
    return DetDataSample(metainfo=dict(img_id=1, img_path='', img_shape=shape, ori_shape=ori_shape,
                                       scale_factor=(shape[1] / ori_shape[1], shape[0] / ori_shape[0])))


def predict(model, images, ori_shapes=None):
    samples = [sample_of(image, shape) for image, shape in zip(images, ori_shapes or [None] * len(images), strict=True)]
    with torch.no_grad():
        return [sample.pred_instances for sample in model.test_step(dict(inputs=images, data_samples=samples))]


def random_images(*shapes):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(256, (3, *shape), generator=generator).float() for shape in shapes]


# Real networks with random weights.

@pytest.fixture(scope='module', params=['mask-rcnn', 'cascade'])
def detector(request):
    """A narrow Mask R-CNN or Cascade Mask R-CNN."""
    demo = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py').model
    config = demo
    if request.param == 'cascade':
        config = Config.fromfile(REPO / 'configs' / '_base_' / 'cascade-mask-rcnn_r50_cells.py').model
        for part in ('backbone', 'neck', 'rpn_head'):
            config[part] = demo[part]
        for part in ('bbox_roi_extractor', 'mask_roi_extractor', 'mask_head'):
            config.roi_head[part] = demo.roi_head[part]
        for head in config.roi_head.bbox_head:
            head.update(in_channels=64, fc_out_channels=64)
    config.test_cfg.rpn.update(nms_pre=100, max_per_img=100)
    config.test_cfg.rcnn.update(score_thr=0., max_per_img=30)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    # With the initial weights, all mask probabilities would be about one half everywhere.
    for name, parameter in model.roi_head.named_parameters():
        if 'mask_head' in name and 'conv_logits.weight' in name:
            parameter.data.normal_()
    return model.eval()


def test_one_view_that_changes_nothing_is_the_plain_prediction(detector):
    images = random_images((70, 96), (64, 50))
    for plain, ours in zip(predict(detector, images), predict(MaskTTAModel(detector, **PLAIN), images), strict=True):
        assert len(plain) == 30
        assert ours.bboxes.equal(plain.bboxes) and ours.scores.equal(plain.scores) and ours.labels.equal(plain.labels)
        assert ours.masks == plain.masks


def test_one_view_of_a_resized_image_is_the_plain_prediction_up_to_rounding(detector):
    image, shape = random_images((96, 120))[0], (61, 80)
    plain, = predict(detector, [image], [shape])
    ours, = predict(MaskTTAModel(detector, **PLAIN), [image], [shape])
    assert ours.bboxes.equal(plain.bboxes)
    # The boxes went to the frame of the original image and back, which can round.
    assert (decoded(ours.masks, shape) != decoded(plain.masks, shape)).mean() < 1e-4


@pytest.mark.parametrize('view', ORIENTATIONS, ids=str)
def test_a_view_is_predicted_as_the_transformed_image_and_mapped_back(detector, view):
    image, = random_images((70, 96))
    view_image, matrix = view.make(image)
    plain, = predict(detector, [view_image])
    ours, = predict(MaskTTAModel(detector, (1.,), (view.flip,), (view.turns,)), [image])
    torch.testing.assert_close(ours.bboxes, boxes_from_view(plain.bboxes, matrix))
    assert ours.scores.equal(plain.scores)
    # The view was flipped first and turned then, so that it is turned back first and flipped back then.
    masks = torch.from_numpy(decoded(plain.masks, view_image.shape[1:])).rot90(-view.turns, (1, 2))
    masks = View(1., view.flip).make(masks)[0]
    assert .01 < masks.float().mean() < .99
    assert (masks.numpy() != decoded(ours.masks, (70, 96))).mean() < 1e-4


def test_a_scaled_view_is_predicted_as_the_resized_image(detector):
    image, = random_images((70, 96))
    plain, = predict(detector, [View(1.5).make(image)[0]], [(70, 96)])
    ours, = predict(MaskTTAModel(detector, (1.5,), (None,), (0,)), [image])
    torch.testing.assert_close(ours.bboxes, plain.bboxes, rtol=1e-4, atol=1e-3)
    assert (decoded(ours.masks, (70, 96)) != decoded(plain.masks, (70, 96))).mean() < 1e-3


def test_views_of_a_tta_pipeline_are_merged_like_views_of_the_model(detector, rng):
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in ((70, 96), (64, 50))]
    pipeline = Compose([TRANSFORMS.build(dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
        [dict(type='RandomRotate90', prob=0.), dict(type='RandomRotate90', prob=1., turns=3)],
        [dict(type='PackCellInputs', meta_keys=('img_shape', 'ori_shape', 'flip', 'homography_matrix'))]]))])
    packed = [pipeline(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])) for image in images]
    data = {key: [list(views) for views in zip(*(sample[key] for sample in packed), strict=True)] for key in packed[0]}
    model = MaskTTAModel(detector, turns=(0, 3))
    with torch.no_grad():
        samples = model.test_step(data)
    # Dumps can hold numbers and strings, but no arrays.
    assert 'homography_matrix' not in samples[0].metainfo
    from_pipeline = [sample.pred_instances for sample in samples]
    from_model = predict(model, [torch.from_numpy(image).permute(2, 0, 1) for image in images])
    for first, second in zip(from_pipeline, from_model, strict=True):
        assert first.bboxes.equal(second.bboxes) and first.scores.equal(second.scores)
        assert first.masks == second.masks and 0 < len(first.masks) == len(first) <= 30


def test_tta_cfg_limits_the_number_of_detections(detector):
    image, = random_images((70, 96))
    plain, = predict(detector, [image])
    for settings in (PLAIN, dict(turns=(0,))):
        ours, = predict(MaskTTAModel(detector, **settings, tta_cfg=dict(max_per_img=7)), [image])
        assert len(ours) == len(ours.masks) == 7
        assert ours.scores.min() >= plain.scores[6]


def test_images_without_a_detection(detector, monkeypatch):
    monkeypatch.setitem(detector.roi_head.test_cfg, 'score_thr', 1.)
    predictions = predict(MaskTTAModel(detector), random_images((70, 96), (64, 50)))
    assert [(len(instances), instances.masks, tuple(instances.bboxes.shape))
            for instances in predictions] == [(0, [], (0, 4))] * 2


# A network whose predictions flip, turn and scale with the image.

class ToyProposals(nn.Module):
    """Proposes the box of each connected bright region of the first channel."""

    def predict(self, features, samples, rescale):
        proposals = []
        for image, sample in zip(features[0], samples, strict=True):
            height, width = sample.img_shape
            slices = ndimage.find_objects(ndimage.label(image[0, :height, :width] > .5)[0])
            proposals.append(InstanceData(bboxes=torch.tensor(
                [[x.start, y.start, x.stop, y.stop] for y, x in slices], dtype=torch.float32).reshape(-1, 4)))
        return proposals


class ToyRoIHead(StandardRoIHead):
    """Reads the score of a proposal from the second channel and its class from the third channel."""

    def predict_bbox(self, x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale=False):
        for image, boxes in zip(x[0], rpn_results_list, strict=True):
            values = [image[1:, y0:y1, x0:x1].amax((1, 2)) for x0, y0, x1, y1 in boxes.bboxes.long().tolist()]
            values = torch.stack(values) if values else torch.zeros(0, 2)
            boxes.scores, boxes.labels = values[:, 0], (values[:, 1] * 10).round().long()
        return [boxes[boxes.scores.argsort(descending=True)] for boxes in rpn_results_list]


class ToyMaskHead(CellMaskHead):
    """Returns the first channel as steep logits: -10 for 0 and 10 for 1."""

    def forward(self, x):
        return (x[:, :1] - .5) * 20


class ToyDetector(TwoStageDetector):
    def __init__(self):
        BaseDetector.__init__(self, data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32))
        self.rpn_head = ToyProposals()
        test_cfg = ConfigDict(score_thr=0., nms=dict(type='nms', iou_threshold=.5), max_per_img=100,
                              mask_thr_binary=.5)
        self.roi_head = ToyRoIHead(
            bbox_roi_extractor=dict(type='SingleRoIExtractor', out_channels=3, featmap_strides=[1],
                                    roi_layer=dict(type='RoIAlign', output_size=7)),
            bbox_head=dict(type='Shared2FCBBoxHead', in_channels=3, fc_out_channels=1, num_classes=2),
            test_cfg=test_cfg)
        self.roi_head.mask_roi_extractor = MODELS.build(dict(
            type='SingleRoIExtractor', out_channels=3, featmap_strides=[1],
            roi_layer=dict(type='RoIAlign', output_size=28, sampling_ratio=0)))
        self.roi_head.mask_head = ToyMaskHead(num_convs=0, in_channels=3, num_classes=2, class_agnostic=True)
        self.roi_head.share_roi_extractor = False

    def extract_feat(self, batch_inputs):
        return (batch_inputs,)


def letters():
    """Image (3, H, W) with an L, an F and a wedge, which all differ from their mirror images, and their masks."""
    masks = np.zeros((3, 90, 120), bool)
    masks[0, 10:40, 10:18] = masks[0, 32:40, 10:30] = True
    masks[1, 20:60, 60:70] = masks[1, 20:28, 60:90] = masks[1, 36:44, 60:80] = True
    masks[2, 60:85, 20:50] = np.tri(25, 30, dtype=bool)
    scores, labels = (.9, .8, .7), (0, 1, 0)
    image = np.zeros((3, 90, 120), np.float32)
    for mask, score, label in zip(masks, scores, labels, strict=True):
        image[:, mask] = np.array([[1], [score], [label / 10]])
    return torch.from_numpy(image), masks


@pytest.mark.parametrize('tta_cfg', [None, dict(nms=dict(type='nms', iou_threshold=.7)), dict(wbf=dict())], ids=str)
@pytest.mark.parametrize('scales', [(1.,), (1., 2.)])
def test_an_equivariant_network_predicts_the_same_with_all_views(tta_cfg, scales):
    image, masks = letters()
    detector = ToyDetector().eval()
    plain, = predict(detector, [image])
    ours, = predict(MaskTTAModel(detector, scales=scales, tta_cfg=tta_cfg), [image])
    torch.testing.assert_close(ours.bboxes, plain.bboxes)
    torch.testing.assert_close(ours.scores, plain.scores)
    assert ours.labels.tolist() == plain.labels.tolist() == [0, 1, 0]
    ours, plain = decoded(ours.masks, masks.shape[1:]), decoded(plain.masks, masks.shape[1:])
    if scales == (1.,):
        assert np.array_equal(ours, plain)
    # A flip or turn that is not undone would lower these IoUs.
    for predicted_masks in (ours, plain):
        ious = (predicted_masks & masks).sum((1, 2)) / (predicted_masks | masks).sum((1, 2))
        assert ious.min() > .93


@pytest.mark.parametrize(('tta_cfg', 'score', 'n_boxes'), [
    (None, .9, 3), (dict(wbf=dict()), .45, 3), (dict(max_per_img=1), .9, 1),
    (dict(wbf=dict(skip_threshold=.95)), 0, 0)])
def test_cells_that_half_of_the_views_miss(monkeypatch, tta_cfg, score, n_boxes):
    """NMS keeps the score of the other half, and fusion halves it."""
    image, _ = letters()
    stock_predict = ToyProposals.predict

    def blind_to_turned_images(self, features, samples, rescale):
        proposals = stock_predict(self, features, samples, rescale)
        return proposals if samples[0].img_shape == (90, 120) else [boxes[:0] for boxes in proposals]
    monkeypatch.setattr(ToyProposals, 'predict', blind_to_turned_images)
    ours, = predict(MaskTTAModel(ToyDetector().eval(), tta_cfg=tta_cfg), [image])
    assert len(ours) == len(ours.masks) == n_boxes
    assert max([0, *ours.scores.tolist()]) == pytest.approx(score)


# Detectors and settings that are refused.

def test_other_detectors_and_settings_are_refused():
    detector = ToyDetector()
    yolact = Config.fromfile(REPO / 'configs' / 'voc' / 'yolact_r50.py').model
    yolact.backbone.init_cfg = None
    with pytest.raises(MmcellError, match='Mask R-CNN or Cascade Mask R-CNN.*YOLACT is neither'):
        MaskTTAModel(yolact)
    with pytest.raises(MmcellError, match='either nms or wbf, got both'):
        MaskTTAModel(detector, tta_cfg=dict(nms=dict(type='nms'), wbf=dict()))
    with pytest.raises(MmcellError, match=r"got \['iou_thr'\]"):
        MaskTTAModel(detector, tta_cfg=dict(iou_thr=.5))
    with pytest.raises(MmcellError, match="must be 'predict', got 'loss'"):
        MaskTTAModel(detector)(torch.zeros(1, 3, 8, 8), [], mode='loss')
    detector.roi_head.test_cfg.mask_thr_binary = -1
    with pytest.raises(MmcellError, match='mask_thr_binary must be positive'):
        MaskTTAModel(detector)
    detector.roi_head.mask_head = None
    with pytest.raises(MmcellError, match='ToyDetector is neither'):
        MaskTTAModel(detector)
