"""A2 and A1: which backbone and recipe finds the most cells, at 30 epochs each?

    python tools/study.py studies/backbones.py --out work_dirs/studies/backbones

The authors report a test mAP of .3799, .3128, .4123 and .3543. Value here: configs/README.md.
"""

question = 'Which backbone and recipe finds the most cells, at 30 epochs each?'
configs = [
    '../configs/cell/mask-rcnn_r50_tv-v1.py',
    '../configs/cell/mask-rcnn_r50_tv-v2_30e.py',
    '../configs/cell/mask-rcnn_convnext_tv.py',
    '../configs/cell/mask-rcnn_r50_tv-v1_better.py',
    # A1: the training of A2's ConvNeXt, tested with 300 detections.
    '../configs/cell/mask-rcnn_convnext_tv_300-detections.py',
]
