"""System B1: does BatchNorm in the FPN help, with whole images and a long warm-up?

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn.py

BatchNorm follows each convolution of the FPN. Images whose longer side exceeds 1,024 px are shrunk to this length,
smaller images keep their size. Batch 1, 60 epochs of 167 steps (four fifths of 209 images), 10,020 steps in all, of
which 2,505 are warm-up. There is no augmentation. The report does not name anchors and frozen stages: here they are
those of the baseline. Reported: validation AP .2899, AP50 .4394; test AP50 .3945. Value here: not run yet.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_60e_warmup.py',
    '../_base_/runtime.py',
]

model = dict(neck=dict(norm_cfg=dict(type='BN')))

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
