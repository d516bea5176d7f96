"""Is a wider and deeper backbone better: ConvNeXt-B in place of ConvNeXt-T?

    python tools/train.py configs/cell/mask-rcnn_convnext-base.py

Schedule and data are those of mask-rcnn_convnext.py: 2,520 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_convnext.py']

model = dict(
    backbone=dict(
        arch='base',
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/'
                       'convnext/convnext-base_3rdparty_32xb128-noema_in1k_20220222-dba4f95f.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
