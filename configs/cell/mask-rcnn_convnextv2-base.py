"""Do the pre-training and normalisation of ConvNeXt-V2-B help, compared with mask-rcnn_convnext-base.py?

    python tools/train.py configs/cell/mask-rcnn_convnextv2-base.py

Schedule and data are those of mask-rcnn_convnext.py: 2,520 steps. The licence of ConvNeXt-V2's
weights (CC BY-NC 4.0) allows no commercial use, also of models that start from them. Value here: not run yet.
"""

_base_ = ['mask-rcnn_convnext.py']

model = dict(
    backbone=dict(
        arch='base',
        use_grn=True,
        layer_scale_init_value=0.,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/'
                       'convnext-v2/convnext-v2-base_fcmae-pre_3rdparty_in1k_20230104-00a70fa4.pth')),
    neck=dict(in_channels=[128, 256, 512, 1024]))
