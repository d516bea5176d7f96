"""System D3: how much do small anchors help? The counterpart of mask-rcnn_r101_small-anchors.py, with large anchors.

    python tools/train.py configs/cell/mask-rcnn_r101_default-anchors.py

The anchors are MMDetection's: 32, 64, 128, 256 and 512 px with ratios 1/2, 1 and 2. docs/studies/anchors.md shows how
many cells each of the two sets of anchors can cover, before any training. 150 epochs of 84 steps are 12,600 steps.
Reported: AP50 .339, with small anchors .357. Cost and value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r101_small-anchors.py']

model = dict(rpn_head=dict(anchor_generator=dict(scales=[8], base_sizes=None, ratios=[.5, 1., 2.])))
