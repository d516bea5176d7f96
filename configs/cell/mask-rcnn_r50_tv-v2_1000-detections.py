r"""How much does the limit of 100 detections cost system C1? mask-rcnn_r50_tv-v2.py with the baseline's limits.

    python tools/test.py configs/cell/mask-rcnn_r50_tv-v2_1000-detections.py \
        work_dirs/cell/mask-rcnn_r50_tv-v2 --split val

The limits have no effect on training. Not a system of a report. Value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_tv-v2.py']

model = dict(test_cfg=dict(rpn=dict(nms_pre=2000, max_per_img=2000), rcnn=dict(max_per_img=1000)))
