"""How much does a deeper backbone help: ResNet-101 in place of ResNet-50?

    python tools/train.py configs/cell/mask-rcnn_r101.py

Schedule and data are those of mask-rcnn_r50.py: 2,520 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
