"""System A1: Mask R-CNN with a ConvNeXt-T (ImageNet) backbone: does a stronger backbone help?

    python tools/train.py configs/cell/mask-rcnn_convnext.py

FPN on all four stages, 300 detections an image, 30 epochs: 167 images (209, less a fifth), batch 2: 84 steps an epoch,
2,520 in all. Which ConvNeXt, which optimiser and what augmentation is not told: the smallest, the baseline's. Reported:
validation AP .362, test AP50 .4727 (public), .4810 (private). Value here: not run yet.
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
    neck=dict(in_channels=[96, 192, 384, 768]),
    test_cfg=dict(rcnn=dict(max_per_img=300)))
