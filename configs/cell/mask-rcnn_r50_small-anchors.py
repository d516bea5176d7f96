"""System D2: how much does depth help? mask-rcnn_r101_small-anchors.py with ResNet-50 (ImageNet).

    python tools/train.py configs/cell/mask-rcnn_r50_small-anchors.py

150 epochs of 84 steps, 12,600 steps in all. Reported: AP50 .334, with ResNet-101 .357. Cost and value here:
docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='torchvision://resnet50')))
