"""System A2: is ConvNeXt-T a better backbone in torchvision's Mask R-CNN? The FPN gets its features 1, 3, 5 and 7.

    python tools/train.py configs/cell/mask-rcnn_convnext_tv.py

This is mask-rcnn_r50_tv-v1.py with another backbone, the same schedule and the same data: 2,520 steps. Unlike in
mask-rcnn_convnext.py, the outputs of the backbone are not normalised, and the heads are torchvision's. The report does
not say which ConvNeXt was used: here it is the smallest. Reported: validation mAP .4123. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_tv-v1.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='PlainOutputConvNeXt',
        arch='tiny',
        out_indices=[0, 1, 2, 3],
        drop_path_rate=.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
                       'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth',
            prefix='backbone.')),
    neck=dict(in_channels=[96, 192, 384, 768]))
