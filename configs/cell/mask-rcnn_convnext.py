"""System A1: does a stronger backbone help? Mask R-CNN with ConvNeXt-T (ImageNet).

    python tools/train.py configs/cell/mask-rcnn_convnext.py

FPN on all four stages, at most 300 detections per image, 30 epochs. With 167 training images (four fifths of 209) and
batch 2, an epoch has 84 steps, and the training 2,520. The report does not say which ConvNeXt, optimiser and
augmentation were used: here it is the smallest ConvNeXt, with the optimiser and augmentation of the baseline. Reported:
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
