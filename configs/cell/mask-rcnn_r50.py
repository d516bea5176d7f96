"""Baseline: Mask R-CNN, ResNet-50 (ImageNet) with FPN, fitted to cells.

    python tools/train.py configs/cell/mask-rcnn_r50.py

Images at their own size, crops of 512 px, 30 epochs: 167 images (209, less a fifth), batch 2: 84 steps an epoch, 2,520
in all. Value: not run yet on the whole task.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]
