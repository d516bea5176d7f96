"""Baseline: Mask R-CNN with ResNet-50 (ImageNet) and FPN, adapted to cells.

    python tools/train.py configs/cell/mask-rcnn_r50.py

Images keep their size; the training uses crops of 512 px and lasts 30 epochs. With 167 training images (four fifths of
209) and batch 2, an epoch has 84 steps, and the training 2,520. Value here: not run yet on the whole task.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]
