"""torchvision's ConvNeXt-T with an FPN on its features 1, 3, 5 and 7, in torchvision's Mask R-CNN: a better backbone?

    python tools/train.py configs/cell/mask-rcnn_convnext_tv.py

Against mask-rcnn_r50_tv-v1.py the backbone alone differs; against mask-rcnn_convnext.py its outputs have no norms, and
the heads are torchvision's. ImageNet weights are those of ConvNeXt's authors. 30 epochs. Reported by its authors for
this model: mask AP .4123. Value here: not run yet.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

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
