"""Is a deeper backbone better: ConvNeXt-S in place of ConvNeXt-T?

    python tools/train.py configs/cell/mask-rcnn_convnext-small.py

Schedule and data are those of mask-rcnn_convnext.py: 2,520 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_convnext.py']

model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/'
                       'convnext/convnext-small_32xb128-noema_in1k_20221208-4a618995.pth')))
