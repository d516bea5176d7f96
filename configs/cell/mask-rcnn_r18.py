"""How much does a less deep backbone cost: ResNet-18 in place of ResNet-50?

    python tools/train.py configs/cell/mask-rcnn_r18.py

Schedule and data are those of mask-rcnn_r50.py: 2,520 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512]))
