"""torchvision's Mask R-CNN "v1" (maskrcnn_resnet50_fpn) from ImageNet weights: the start of a backbone study.

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v1.py

The baseline's data and schedule, 30 epochs. Reported by its authors for this model: mask AP .3799. Value here: not run
yet. Anchors are torchvision's, 32 ... 512 px.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]
