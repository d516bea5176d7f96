"""How good is the laptop recipe on CoNSeP, whose published split has 27 training images in true RGB?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/train.py configs/cell/mask-rcnn_r50_light_consep.py

The training has 3,000 steps. CoNSeP is measured by values that count each cell once (PQ, AJI, Dice, F_d). Each box
therefore gets one class, and of detections whose masks overlap only the best is kept. Value here: validation PQ
.431 after 2,600 steps (benchmarks/consep).
"""

_base_ = ['mask-rcnn_r50_light.py']

model = dict(test_cfg=dict(
    # A stricter NMS of proposals than the usual .7, so that 1,500 of them are enough for 900 cells.
    rpn=dict(nms=dict(iou_threshold=.6)),
    rcnn=dict(
        one_class_per_box=True,
        nms=dict(iou_threshold=.5, class_agnostic=True),
        mask_nms=dict(iou_threshold=.2, class_agnostic=True))))

train_dataloader = dict(dataset=dict(ann_file='annotations/consep/train.json'))
val_dataloader = dict(dataset=dict(ann_file='annotations/consep/val.json'))
test_dataloader = dict(dataset=dict(ann_file='annotations/consep/test.json'))
