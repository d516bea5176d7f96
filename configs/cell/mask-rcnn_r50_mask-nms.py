r"""Are more long and touching cells found if boxes are suppressed loosely and masks strictly?

    python tools/test.py configs/cell/mask-rcnn_r50_mask-nms.py \
        work_dirs/cell/mask-rcnn_r50 --split val

This is mask-rcnn_r50.py with another prediction: its training and its checkpoints serve both. Loose NMS leaves about
twice as many boxes, hence the limit of 2,000 detections. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=.7), mask_nms=dict(iou_threshold=.3), max_per_img=2000)))
