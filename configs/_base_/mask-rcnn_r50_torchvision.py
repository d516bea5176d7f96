"""Model: torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn), layer for layer, with four classes of cells.

Against MMDetection's: rounded anchors, RoIAlign with two samples a side and without the half-pixel shift, smooth L1,
and matching as in torchvision: every cell gets its best anchor, however small their overlap. Compared in
tests/test_torchvision_weights.py. Not taken over: the caps, which are the cell baseline's. torchvision does not keep a
side of a predicted box from being less than 1/62 of its anchor's or proposal's, as MMDetection does.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

roi_align = dict(sampling_ratio=2, aligned=False)
smooth_l1 = dict(type='SmoothL1Loss', beta=1 / 9)

model = dict(
    # As configs/cell/mask-rcnn_r50.py: RGB, padding, classes, heads and caps.
    data_preprocessor=dict(bgr_to_rgb=False, batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    rpn_head=dict(anchor_generator=dict(type='TorchvisionAnchorGenerator'), loss_bbox=smooth_l1),
    roi_head=dict(
        bbox_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        bbox_head=dict(num_classes=4, loss_bbox=smooth_l1),
        mask_roi_extractor=dict(type='CellRoIExtractor', roi_layer=roi_align),
        mask_head=dict(type='CellMaskHead', num_classes=4)),
    train_cfg=dict(
        # 0 would match every anchor to a box without extent.
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner', min_pos_iou=1e-6)),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner', match_low_quality=False))),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=1000)))

# What torchvision does to images inside its model: a short side of 800 px, the long side at most 1333.
enlarge = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
enlarged_train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    enlarge,
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='PackCellInputs'),
]
enlarged_test_pipeline = [dict(type='LoadTiff'), enlarge, dict(type='PackCellInputs')]
