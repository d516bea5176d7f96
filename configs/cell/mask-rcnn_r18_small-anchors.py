"""System D2: how much does depth help? mask-rcnn_r101_small-anchors.py with ResNet-18 (ImageNet).

    python tools/train.py configs/cell/mask-rcnn_r18_small-anchors.py

150 epochs of 84 steps, 12,600 steps in all. Reported: AP50 .335, with ResNet-101 .357. Cost and value here:
docs/studies/small_budget.md (from random weights only).
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512]))
