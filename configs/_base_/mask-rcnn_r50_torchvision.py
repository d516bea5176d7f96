"""Model: torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn), layer for layer, with four classes of cells.

It differs from MMDetection's Mask R-CNN in its rounded anchors, in RoIAlign with two samples per side of a bin and
without the half-pixel shift, in smooth L1 losses, and in the matching: every cell gets its best anchor, however small
their overlap is. Its limits are torchvision's, too: 2,000 proposals in training, 1,000 in tests, 100 detections.
tests/checkpoints/test_torchvision_weights.py compares the two implementations. One difference from torchvision remains:
MMDetection does not let a side of a predicted box become shorter than 1/62 of the side of its anchor or proposal,
whereas torchvision does.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

roi_align = dict(sampling_ratio=2, aligned=False)
smooth_l1 = dict(type='SmoothL1Loss', beta=1 / 9)

model = dict(
    # RGB, padding, classes and heads are the same as in configs/cell/mask-rcnn_r50.py.
    data_preprocessor=dict(bgr_to_rgb=False, batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    rpn_head=dict(anchor_generator=dict(type='TorchvisionAnchorGenerator'), loss_bbox=smooth_l1),
    roi_head=dict(
        bbox_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        bbox_head=dict(num_classes=4, loss_bbox=smooth_l1),
        mask_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        mask_head=dict(type='CellMaskHead', num_classes=4)),
    train_cfg=dict(
        # With the value 0, a box without extent would match all anchors, because its IoU with each of them is 0.
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner', min_pos_iou=1e-6)),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner', match_low_quality=False))))
