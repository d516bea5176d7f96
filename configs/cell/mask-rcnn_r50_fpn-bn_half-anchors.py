"""Do anchors of the size of cells help system B1? mask-rcnn_r50_fpn-bn.py with anchors half as large, 16 to 256 px.

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn_half-anchors.py

The schedule and the data are the same: 10,020 steps. Not a system of a report. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_fpn-bn.py']

model = dict(rpn_head=dict(anchor_generator=dict(scales=[4])))
