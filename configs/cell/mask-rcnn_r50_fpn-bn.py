"""System B1: does BatchNorm in the FPN help, with whole images and a long warm-up?

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn.py

torchvision's Mask R-CNN, with BatchNorm after each convolution of the FPN and at most 1,000 detections. Images whose
longer side exceeds 1,024 px are shrunk to this length, smaller images keep their size. Batch 1, 60 epochs of 167 steps
(four fifths of 209 images), 10,020 steps in all, of which the first quarter, 2,505, is warm-up. Inferred: that
torchvision's own enlarging of images is switched off, as smaller images keep their size; that there is no augmentation;
and that stem and first stage are frozen, as is torchvision's default. With anchors for cells:
mask-rcnn_r50_fpn-bn_half-anchors.py. Reported: validation AP .2899, AP50 .4394; test AP50 .3945. Value here:
docs/studies/small_budget.md.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/schedule_60e_warmup.py',
    '../_base_/runtime.py',
]

model = dict(
    neck=dict(norm_cfg=dict(type='BN')),
    test_cfg=dict(rcnn=dict(max_per_img=1000)))

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='CapLongSide', max_side=1024),
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='CapLongSide', max_side=1024),
    dict(type='PackCellInputs'),
]
train_dataloader = dict(batch_size=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
