"""Detectors of the project's configs with few channels, which predict many cells in any image."""

import copy

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from support.paths import REPO


def narrow_config(name):
    """Returns a config of the project with a ResNet-18 of 8 channels, and heads of 16 channels."""
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / f'{name}.py')
    demo = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py').model
    init_default_scope(cfg.default_scope)
    cfg.model.backbone = demo.backbone
    cfg.model.backbone.update(stem_channels=8, base_channels=8)
    cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    # Small boxes, so that many of them lie where no other tile sees them.
    cfg.model.rpn_head.anchor_generator.scales = [1]
    cfg.tta_model.update(flips=[None], turns=[0, 1])
    head = cfg.model.roi_head
    for part in (head.bbox_roi_extractor, head.mask_roi_extractor):
        part.out_channels = 16
    for part in head.bbox_head if isinstance(head.bbox_head, list) else [head.bbox_head]:
        part.update(in_channels=16, fc_out_channels=32)
    head.mask_head.update(in_channels=16, conv_out_channels=16)
    cfg.model.test_cfg.rpn.max_per_img = 100
    cfg.model.test_cfg.rcnn.update(max_per_img=40, score_thr=0.)
    return cfg


def build_narrow_detector(name):
    """Builds the detector of :func:`narrow_config` with seeded weights, in evaluation mode."""
    cfg = narrow_config(name)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    # With small random weights, all detections would have nearly the same score.
    for name, parameter in model.named_parameters():
        if 'fc_cls' in name or 'conv_logits' in name:
            torch.nn.init.normal_(parameter, std=.5)
        if 'conv_logits.bias' in name:  # so that the mean of eight views has pixels, too
            torch.nn.init.constant_(parameter, 1.)
    model.cfg, model.dataset_meta = cfg, dict(classes=('a', 'b', 'c', 'd'), channel_order='rgb')
    return model
