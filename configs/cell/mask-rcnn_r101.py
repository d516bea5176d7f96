"""ResNet-101 in place of ResNet-50: how much does depth bring?

    python tools/train.py configs/cell/mask-rcnn_r101.py

Schedule and data as mask-rcnn_r50.py: 2,520 steps. Value: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
