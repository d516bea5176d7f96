"""System A2: how good is torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn)? A study of backbones begins with it.

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v1.py

As in torchvision, anchors have 32 to 512 px, images are enlarged to a short side of 800 px (long side at most 1,333),
and an image has at most 100 detections. Read in the report: the model, 30 epochs. Inferred: ImageNet weights of the
backbone; batch and optimiser, which are those of the baseline: 84 steps per epoch, 2,520 in all. Reported: test mAP
.3799. Value here: docs/studies/small_budget.md.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/enlarged_images.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
