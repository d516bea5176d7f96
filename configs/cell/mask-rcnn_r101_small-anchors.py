"""System D1: do anchors of the size and shape of cells find more cells? Mask R-CNN with ResNet-101 (ImageNet) and FPN.

    python tools/train.py configs/cell/mask-rcnn_r101_small-anchors.py

The input has 1024x1024 px. Each level has one anchor size (16, 32, 48, 64 and 96 px on strides 4 to 64) in eight
shapes. The optimiser is Adam with a constant learning rate of 5e-5. With 167 training images (four fifths of 209) and
batch 2, an epoch has 84 steps; 150 epochs are 12,600 steps. Compare it with mask-rcnn_r101_default-anchors.py, and with
the less deep backbones of system D2. Reported: AP50 .357. Cost and value here:
docs/studies/small_budget.md (from random weights only).

The report names input, anchors, backbone, optimiser, batch and epochs. The following is inferred: the longer side
becomes 1024 px and the rest is padded; there are no flips, no schedule and no weight decay. Everything else is as in
the baseline.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/runtime.py',
]

model = dict(
    # Images are padded here and not by Pad in the pipeline: after Pad the padding would count as a part of the image,
    # and the model could find cells in it.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')),
    rpn_head=dict(anchor_generator=dict(
        scales=[1], base_sizes=[16, 32, 48, 64, 96], ratios=[.25, .5, .75, 1., 1.5, 2., 3., 4.])))

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    # A large image is shrunk, and its smallest cells may lose all their pixels: these cells are removed.
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
