"""System A2: is torchvision's Mask R-CNN "v2" better than "v1"? Part of the study that mask-rcnn_r50_tv-v1.py begins.

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2_30e.py

Model and data are those of mask-rcnn_r50_tv-v2.py, but the backbone starts from ImageNet weights. The schedule is that
of mask-rcnn_r50_tv-v1.py: 30 epochs of 84 steps, 2,520 in all. Read in the report: the model, 30 epochs. Inferred: the
weights and everything that mask-rcnn_r50_tv-v1.py infers. Reported: test mAP .3128. Value here:
docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_tv-v2.py']

model = dict(
    backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='torchvision://resnet50')))
load_from = None

# The same schedule as in _base_/schedule_30e.py.
train_cfg = dict(max_epochs=30)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=.05),
    clip_grad=dict(max_norm=10.))
param_scheduler = [
    dict(type='LinearLR', start_factor=.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True),
]
