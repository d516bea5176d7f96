"""Does a cascade make better boxes of the laptop recipe, at what cost?

    python tools/train.py configs/cell/cascade-mask-rcnn_r50_light.py

This is mask-rcnn_r50_light.py with three box heads, which learn from boxes with an IoU of at least .5, .6 and .7. The
training has 3,000 steps. Value here: pooled validation PQ .439, against .418 without them, after 600 steps on CoNSeP
(benchmarks/consep).
"""

_base_ = ['mask-rcnn_r50_light.py']

model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='CellCascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, .5, .25],
        bbox_head=[
            dict(type='CellBBoxHead',
                 in_channels=128,
                 fc_out_channels=512,
                 roi_feat_size=7,
                 num_classes=4,
                 reg_class_agnostic=True,
                 bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.] * 4, target_stds=stds),
                 loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.),
                 loss_bbox=dict(type='SmoothL1Loss', beta=1., loss_weight=1.))
            for stds in ([.1, .1, .2, .2], [.05, .05, .1, .1], [.033, .033, .067, .067])
        ]),
    train_cfg=dict(rcnn=[
        dict(assigner=dict(type='SparseMaxIoUAssigner', pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou,
                           match_low_quality=False, ignore_iof_thr=-1),
             sampler=dict(type='RandomSampler', num=256, pos_fraction=.5, neg_pos_ub=-1, add_gt_as_proposals=True),
             mask_size=28,
             pos_weight=-1,
             debug=False)
        for iou in (.5, .6, .7)
    ]))
