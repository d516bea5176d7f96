"""Does stain jitter help against differences between stains, at the same number of steps?

    python tools/train.py configs/cell/mask-rcnn_r50_stain.py

This is mask-rcnn_r50.py with random amounts of haematoxylin, eosin and DAB, with the same schedule: 2,520 steps. Value
here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True),
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='StainJitter', alpha=.05, beta=.05),
    dict(type='PackCellInputs'),
]))
