"""Model: MMDetection's Cascade Mask R-CNN with ResNet-50 (ImageNet) and FPN, adapted to cells.

The changes are the same as in mask-rcnn_r50_cells.py.
"""

_base_ = ['mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py']

model = dict(
    data_preprocessor=dict(bgr_to_rgb=False, batch_augments=[dict(type='BatchMinSizePad', min_side=64)]),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    # A config replaces an inherited list completely. The three stages are therefore written out. Their values are
    # MMDetection's, except for the number of classes and the type of the assigner.
    roi_head=dict(
        type='CellCascadeRoIHead',
        bbox_roi_extractor=dict(type='CellRoIExtractor'),
        bbox_head=[
            dict(type='CellBBoxHead',
                 in_channels=256,
                 fc_out_channels=1024,
                 roi_feat_size=7,
                 num_classes=4,
                 reg_class_agnostic=True,
                 bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.] * 4, target_stds=stds),
                 loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.),
                 loss_bbox=dict(type='SmoothL1Loss', beta=1., loss_weight=1.))
            for stds in ([.1, .1, .2, .2], [.05, .05, .1, .1], [.033, .033, .067, .067])
        ],
        mask_roi_extractor=dict(type='CellRoIExtractor'),
        mask_head=dict(type='CellMaskHead', num_classes=4)),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=[
            dict(assigner=dict(type='SparseMaxIoUAssigner', pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou,
                               match_low_quality=False, ignore_iof_thr=-1),
                 sampler=dict(type='RandomSampler', num=512, pos_fraction=.25, neg_pos_ub=-1, add_gt_as_proposals=True),
                 mask_size=28,
                 pos_weight=-1,
                 debug=False)
            for iou in (.5, .6, .7)
        ]),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=1000)))
