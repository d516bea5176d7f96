"""How good can two hours on a CPU be? A narrow Mask R-CNN on three stages of ResNet-50, for laptops.

    python tools/train.py configs/cell/mask-rcnn_r50_light.py

A step with one crop of 512 px takes a quarter of the time of mask-rcnn_r50.py, and so does a prediction:

- The last stage of the ResNet is left out. Its features see more than 400 px around, and cells are 12 to 60 px wide.
- FPN and heads have 128 channels in place of 256, the fully connected layers 512 in place of 1,024.
- The mask head has two convolutions with 64 channels in place of four with 256. Together with its upsampling it took
  two thirds of the arithmetic of a step.
- 500 proposals and 256 RoIs take part in a training step, in place of 2,000 and 512.

The training has 3,000 steps, whatever the number of images is. Value here: validation AP50 .822 (benchmarks/hw3).
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_3k.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)),
    neck=dict(in_channels=[256, 512, 1024], out_channels=128, num_outs=4),
    # Anchors of 16, 32, 64 and 128 px.
    rpn_head=dict(in_channels=128, feat_channels=128, anchor_generator=dict(strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, featmap_strides=[4, 8, 16]),
        bbox_head=dict(in_channels=128, fc_out_channels=512),
        mask_roi_extractor=dict(out_channels=128, featmap_strides=[4, 8, 16]),
        mask_head=dict(num_convs=2, in_channels=128, conv_out_channels=64)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=256, pos_fraction=.5))),
    test_cfg=dict(rpn=dict(nms_pre=4000, max_per_img=1500)))

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(_delete_=True, type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(pipeline=[
        dict(type='LoadTiff'),
        dict(type='LoadCellAnnotations'),
        dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(.75, 1.33)),
        dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
        dict(type='RandomFlip', prob=.5),
        dict(type='RandomRotate90'),
        dict(type='StainJitter', alpha=.05, beta=.05),
        dict(type='PackCellInputs'),
    ]))
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-3, gamma=200, priority='ABOVE_NORMAL'),
]
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500))
log_processor = dict(by_epoch=False)
