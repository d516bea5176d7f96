"""Demo: a Mask R-CNN that is small enough to learn synthetic cells from random weights in minutes on two CPU cores.

    make demo

The stem and the stages of its ResNet-18 are half as wide as usual, FPN and heads have 64 channels, and crops are 192 px
wide. The training has 320 steps. Value here: AP50 .836 (docs/studies/views_and_tiles.md).
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    backbone=dict(depth=18, stem_channels=32, base_channels=32, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=64)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(max_per_img=300)))

annotations = 'work_dirs/demo/annotations/'
train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='RandomCrop', crop_size=(192, 192), allow_negative_crop=True, recompute_bbox=True),
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackCellInputs'),
]
# 32 images in batches of 4, and 10 passes over the images per epoch: 80 steps per epoch, 320 steps in 4 epochs.
train_dataloader = dict(
    batch_size=4,
    sampler=dict(times=10),
    dataset=dict(ann_file=annotations + 'train.json', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(ann_file=annotations + 'val.json'))
test_dataloader = dict(dataset=dict(ann_file=annotations + 'test.json'))

train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True),
]
work_dir = 'work_dirs/demo/run'
