"""System A2: is ConvNeXt-T a better backbone in torchvision's Mask R-CNN? The FPN gets its features 1, 3, 5 and 7.

    python tools/train.py configs/cell/mask-rcnn_convnext_tv.py

This is mask-rcnn_r50_tv-v1.py with another backbone, the same schedule and the same data: 2,520 steps. Unlike in
mask-rcnn_convnext.py, the outputs of the backbone are not normalised, and anchors, image size and heads are
torchvision's. Read in the report: a ConvNeXt with ImageNet weights, an FPN on all four stages, 30 epochs. Inferred:
that it is the smallest ConvNeXt. Reported: test mAP .4123. Value here: docs/studies/small_budget.md.
"""

_base_ = [
    '../_base_/mask-rcnn_convnext_torchvision.py',
    '../_base_/cells.py',
    '../_base_/enlarged_images.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
