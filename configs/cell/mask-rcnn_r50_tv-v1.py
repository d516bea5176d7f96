"""System A2: torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn) from ImageNet weights, first of a backbone study.

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v1.py

As torchvision has it: anchors of 32 ... 512 px, images enlarged to a short side of 800 px (long side 1,333 at most),
100 detections an image. 30 epochs; batch and optimiser are not told: the baseline's, 84 steps an epoch, 2,520 in all.
Reported: validation mAP .3799. Value here: not run yet.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

model = dict(test_cfg=dict(rcnn=dict(max_per_img=100)))

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
