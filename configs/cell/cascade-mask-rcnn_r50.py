"""Are three box heads, each of which refines the boxes of the previous one, better than the baseline's single head?

    python tools/train.py configs/cell/cascade-mask-rcnn_r50.py

Schedule and data are those of mask-rcnn_r50.py: 2,520 steps. Value here: not run yet.
"""

_base_ = [
    '../_base_/cascade-mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]
