"""Model: torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn), layer for layer, with four classes of cells.

With the same weights, images, anchors and proposals it has torchvision's losses, boxes and masks; tests in
tests/models/test_torchvision_parts.py compare the two. Unlike MMDetection's Mask R-CNN it has rounded anchors, RoIAlign
with two samples per side of a bin and without the half-pixel shift, smooth L1 losses, no lower limit for boxes, another
matching (every cell gets its best anchor, however small their overlap is), mask targets that are not rounded to 0 or 1,
and masks that are pasted into whole pixels. Its limits are torchvision's, too: 2,000 proposals in training, 1,000 in
tests, 100 detections. configs/README.md lists what remains different.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

roi_align = dict(sampling_ratio=2, aligned=False)
smooth_l1 = dict(type='SmoothL1Loss', beta=1 / 9)
bbox_coder = dict(type='TorchvisionBBoxCoder')

model = dict(
    # RGB, padding, classes and heads are the same as in configs/cell/mask-rcnn_r50.py. Masks are not padded with the
    # images, because torchvision's RoIAlign repeats the last pixels of the mask at the border of the image.
    data_preprocessor=dict(
        bgr_to_rgb=False, pad_mask=False, batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    rpn_head=dict(
        anchor_generator=dict(type='TorchvisionAnchorGenerator'), bbox_coder=bbox_coder, loss_bbox=smooth_l1),
    roi_head=dict(
        type='CellRoIHead',
        bbox_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        bbox_head=dict(num_classes=4, bbox_coder=bbox_coder, loss_bbox=smooth_l1),
        mask_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        mask_head=dict(type='TorchvisionMaskHead', num_classes=4)),
    train_cfg=dict(
        # With the value 0, a box without extent would match all anchors, because its IoU with each of them is 0.
        rpn=dict(assigner=dict(type='TorchvisionAssigner', min_pos_iou=1e-6)),
        rpn_proposal=dict(max_per_img=2000, min_bbox_size=1e-3),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner', match_low_quality=False))),
    test_cfg=dict(rpn=dict(min_bbox_size=1e-3)))
