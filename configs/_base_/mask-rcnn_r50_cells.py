"""Model: MMDetection's Mask R-CNN with ResNet-50 (ImageNet) and FPN, adapted to cells.

It has four classes, anchors half as large as MMDetection's (16 to 256 px, because cells are 12 to 60 px wide), and
limits of 2,000 proposals and 1,000 detections per image.
"""

_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

model = dict(
    data_preprocessor=dict(
        # LoadTiff loads images as RGB already.
        bgr_to_rgb=False,
        # Batches are padded to at least 64 px. The last stage divides sides by 32, so that 32 px would leave a single
        # value per channel, and BatchNorm cannot be trained on a single value.
        batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    # These classes compute the same as MMDetection's StandardRoIHead, SingleRoIExtractor, FCNMaskHead and
    # MaxIoUAssigner, but spend time and memory only on wanted masks, pixels inside boxes, and boxes that overlap.
    # CellBBoxHead is Shared2FCBBoxHead unless test_cfg.rcnn.one_class_per_box is set.
    roi_head=dict(
        type='CellRoIHead',
        bbox_roi_extractor=dict(type='CellRoIExtractor'),
        bbox_head=dict(type='CellBBoxHead', num_classes=4),
        mask_roi_extractor=dict(type='CellRoIExtractor'),
        mask_head=dict(type='CellMaskHead', num_classes=4)),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner'))),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=1000)))
