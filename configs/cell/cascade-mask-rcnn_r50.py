"""Three box heads, each on the boxes of the one before, in place of one: the strong variant of the baseline.

    python tools/train.py configs/cell/cascade-mask-rcnn_r50.py

Schedule and data as mask-rcnn_r50.py: 2,520 steps. Value: not run yet.
"""

_base_ = [
    '../_base_/cascade-mask-rcnn_r50_cells.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]
