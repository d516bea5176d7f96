"""How much does a wider backbone help: ResNeXt-101-32x8d in place of ResNet-50?

    python tools/train.py configs/cell/mask-rcnn_x101-32x8d.py

Schedule and data are those of mask-rcnn_r50.py: 2,520 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    backbone=dict(
        type='ResNeXt', depth=101, groups=32, base_width=8,
        init_cfg=dict(checkpoint='torchvision://resnext101_32x8d')))
