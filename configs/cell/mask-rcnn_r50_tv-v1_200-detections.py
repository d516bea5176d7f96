r"""System A3: what does a limit of 200 detections per image cost?

    python tools/test.py configs/cell/mask-rcnn_r50_tv-v1_200-detections.py \
        work_dirs/cell/mask-rcnn_r50_tv-v1 --split val

The limit has no effect on training: one training of mask-rcnn_r50_tv-v1.py (100 detections) serves all limits. The
report does not name its model, but at 100 detections it gives the value of mask-rcnn_r50_tv-v1.py: this is why that
config is used here. Reported: test mAP .4059, at 100 detections .3799. Value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_tv-v1.py']

model = dict(test_cfg=dict(rcnn=dict(max_per_img=200)))
