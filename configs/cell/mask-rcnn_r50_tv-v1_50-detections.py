"""System A3: what does a cap of 50 detections an image cost?

    python tools/test.py configs/cell/mask-rcnn_r50_tv-v1_50-detections.py work_dirs/mask-rcnn_r50_tv-v1 --split val

The cap plays no part in training: one run of mask-rcnn_r50_tv-v1.py (100 detections) serves all. The row does not name
its model; at 100 it has the value of that one. Reported: validation mAP .3341, at 100 .3799. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_tv-v1.py']

model = dict(test_cfg=dict(rcnn=dict(max_per_img=50)))
