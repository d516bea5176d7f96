"""System D2: mask-rcnn_r101_small-anchors.py with a ResNet-50 (ImageNet): what does depth bring?

    python tools/train.py configs/cell/mask-rcnn_r50_small-anchors.py

Reported: AP50 .334, ResNet-101 .357. Cost and value here: not run yet; 84 steps an epoch, 150 epochs, 12,600 steps.
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='torchvision://resnet50')))
