"""System C2: mask-rcnn_r50_tv-v2.py at one learning rate: are its steps at 80 and 90 epochs worth their while?

    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2_constant-lr.py

COCO weights as mask-rcnn_r50_tv-v2.py says. 100 epochs of 84 steps, 8,400 in all, at lr .005. Reported: mAP .5078.
Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_tv-v2.py']

param_scheduler = []
