"""Model: MMDetection's Mask R-CNN with ResNet-50 (ImageNet) and FPN, fitted to cells.

Four classes, anchors half as large (16 ... 256 px: cells are 12 to 60 px wide), up to 2,000 proposals and 1,000
detections an image.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

model = dict(
    data_preprocessor=dict(
        # LoadTiff gives RGB.
        bgr_to_rgb=False,
        # Batches are padded to 64 px at least: from 32 px the last stage is one value, which no BatchNorm can train on.
        batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    # Types that begin with Cell and Sparse give what the stock ones give, at the cost of pixels and pairs that count.
    roi_head=dict(
        bbox_roi_extractor=dict(type='CellRoIExtractor'),
        bbox_head=dict(num_classes=4),
        mask_roi_extractor=dict(type='CellRoIExtractor'),
        mask_head=dict(type='CellMaskHead', num_classes=4)),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner'))),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=1000)))
