"""Do finer features find more cells of CoNSeP? The laptop recipe on images that are 1.5 times as large.

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/train.py configs/cell/mask-rcnn_r50_light_consep_enlarged.py

A cell of 20 px covers five positions of the finest features of mask-rcnn_r50_light_consep.py, here eight. A step takes
as long, because a crop has as many pixels, and a prediction up to 2.25 times as long. The training has 3,000 steps.
Value here: validation PQ .506 after 2,000 steps from the weights of that recipe (benchmarks/consep).
"""

_base_ = ['mask-rcnn_r50_light.py']

# As in mask-rcnn_r50_light_consep.py.
model = dict(test_cfg=dict(
    rpn=dict(nms=dict(iou_threshold=.6)),
    rcnn=dict(
        one_class_per_box=True,
        nms=dict(iou_threshold=.5, class_agnostic=True),
        mask_nms=dict(iou_threshold=.2, class_agnostic=True))))

train_dataloader = dict(dataset=dict(
    ann_file='annotations/consep/train.json',
    pipeline=[
        dict(type='LoadTiff'),
        dict(type='LoadCellAnnotations'),
        dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(1.125, 2.)),
        dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
        dict(type='RandomFlip', prob=.5),
        dict(type='RandomRotate90'),
        dict(type='StainJitter', alpha=.05, beta=.05),
        dict(type='PackCellInputs'),
    ]))
enlarged_test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='Resize', scale_factor=1.5),
    dict(type='PackCellInputs'),
]
val_dataloader = dict(dataset=dict(ann_file='annotations/consep/val.json', pipeline=enlarged_test_pipeline))
test_dataloader = dict(dataset=dict(ann_file='annotations/consep/test.json', pipeline=enlarged_test_pipeline))
