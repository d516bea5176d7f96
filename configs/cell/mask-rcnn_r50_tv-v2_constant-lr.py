"""System C2: do the two steps of the learning rate help? mask-rcnn_r50_tv-v2.py with a constant learning rate.

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2_constant-lr.py

The docstring of mask-rcnn_r50_tv-v2.py says how to get the COCO weights. 100 epochs of 84 steps, 8,400 in all, have a
learning rate of .005. Reported: mAP .5078. Value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_tv-v2.py']

param_scheduler = []
