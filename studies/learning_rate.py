"""C1 and C2: does torchvision's v2 recipe need a falling learning rate?

    python tools/study.py studies/learning_rate.py --out work_dirs/studies/learning_rate

The authors report a mAP of about .487 with steps and .5078 with a constant rate. Value here: configs/README.md.
"""

question = "Does torchvision's v2 recipe need a falling learning rate?"
configs = [
    '../configs/cell/mask-rcnn_r50_tv-v2.py',
    '../configs/cell/mask-rcnn_r50_tv-v2_constant-lr.py',
    # Not of the report: the training of C1, tested with 1,000 detections in place of 100.
    '../configs/cell/mask-rcnn_r50_tv-v2_1000-detections.py',
]
