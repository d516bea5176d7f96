"""System A2: torchvision's ConvNeXt-T with an FPN on its features 1, 3, 5 and 7: a better backbone?

    python tools/train.py configs/cell/mask-rcnn_convnext_tv.py

mask-rcnn_r50_tv-v1.py with another backbone; against mask-rcnn_convnext.py its outputs have no norms, and the heads are
torchvision's. Which ConvNeXt is not told: the smallest. Schedule and data as there: 2,520 steps. Reported: validation
mAP .4123. Value here: not run yet.
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
