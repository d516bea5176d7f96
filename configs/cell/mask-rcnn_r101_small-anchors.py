"""System D1: do anchors of the size and shape of cells find more of them?  Mask R-CNN, ResNet-101 (ImageNet) with FPN.

    python tools/train.py configs/cell/mask-rcnn_r101_small-anchors.py

Input of 1024x1024 px, one anchor size a level (16, 32, 48, 64, 96 px on strides 4 to 64) in eight shapes, Adam at a
constant 5e-5. Against it: mask-rcnn_r101_default-anchors.py, and less deep backbones. Reported: AP50 .357. Cost and
value here: not run yet. 209 images, four fifths of them for training: 167, in batches of 2 are 84 steps an epoch;
150 epochs, 12,600 steps.

The report names input, anchors, backbone, optimiser, batch and epochs. Inferred: the longer side becomes 1024 px and
the rest is padded; no flips; no schedule and no weight decay. What else the model has is the baseline's.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/runtime.py',
]

model = dict(
    # Not Pad in the pipeline: it would take what it adds for image, and find cells there.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')),
    rpn_head=dict(anchor_generator=dict(
        scales=[1], base_sizes=[16, 32, 48, 64, 96], ratios=[.25, .5, .75, 1., 1.5, 2., 3., 4.])))

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    # Of a large image's smallest cells no pixel may be left.
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='PackCellInputs'),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=150, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-5))
param_scheduler = []
