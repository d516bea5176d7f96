"""Does a stronger backbone help: ConvNeXt-T (ImageNet) in place of ResNet-50?

    python tools/train.py configs/cell/mask-rcnn_convnext.py

Schedule and data are those of mask-rcnn_r50.py: 2,520 steps. MMPretrain normalises the outputs of all four stages.
System A1, which has a ConvNeXt inside torchvision's Mask R-CNN, is mask-rcnn_convnext_tv_300-detections.py. Value here:
not run yet.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=[0, 1, 2, 3],
        drop_path_rate=.2,
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/downstream/'
                       'convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth',
            prefix='backbone.')),
    neck=dict(in_channels=[96, 192, 384, 768]))
