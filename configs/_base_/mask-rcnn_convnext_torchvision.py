"""Model: torchvision's Mask R-CNN as in mask-rcnn_r50_torchvision.py, with torchvision's ConvNeXt-T as backbone.

The FPN gets the outputs of all four stages, which are features 1, 3, 5 and 7 in torchvision.
"""

_base_ = ['mask-rcnn_r50_torchvision.py']

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
