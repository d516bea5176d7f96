"""System D3: mask-rcnn_r101_small-anchors.py with MMDetection's anchors: 32, 64, 128, 256, 512 px, ratios 1/2, 1, 2.

    python tools/train.py configs/cell/mask-rcnn_r101_default-anchors.py

What do small anchors bring? docs/anchors.md has what the two can cover before any training. Reported: AP50 .339,
small anchors .357. Cost and value here: not run yet; 84 steps an epoch, 150 epochs, 12,600 steps.
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(rpn_head=dict(anchor_generator=dict(scales=[8], base_sizes=None, ratios=[.5, 1., 2.])))
