"""System D2: mask-rcnn_r101_small-anchors.py with a ResNet-18 (ImageNet): what does depth bring?

    python tools/train.py configs/cell/mask-rcnn_r18_small-anchors.py

Reported: AP50 .335, ResNet-101 .357. Cost and value here: not run yet; 84 steps an epoch, 150 epochs, 12,600 steps.
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512]))
