"""E1 to E3: what do weight decay and a larger backbone do on Tiny PASCAL VOC?

    python tools/study.py studies/pascal_voc.py --out work_dirs/studies/pascal_voc

The author reports a mAP of .47416 (E1) and .42467 (E2); E3 was not finished. Value here: configs/README.md.
"""

question = 'What do weight decay and a larger backbone do on Tiny PASCAL VOC?'
configs = [
    '../configs/voc/mask-rcnn_r50.py',
    '../configs/voc/mask-rcnn_r50_bias-decay.py',
    '../configs/voc/mask-rcnn_r50_no-weight-decay.py',
    '../configs/voc/mask-rcnn_x101-32x8d.py',
    '../configs/voc/yolact_r50.py',
]
