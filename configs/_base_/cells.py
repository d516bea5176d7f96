"""Data: the COCO files that data_prep/to_coco.py writes to ./annotations, and the metrics over them."""

# The task's images are published with red and blue swapped under an RGB tag. Images in true colours: 'rgb', in
# train_dataloader, val_dataloader and test_dataloader (configs/cell/mask-rcnn_r50_consep.py does it).
channel_order = 'bgr'

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    # Smaller images keep their size. Crops without a cell are kept: background is worth learning too.
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True),
    # A box may enter the crop where its mask does not.
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackCellInputs'),
]
# Cells have one size in pixels whatever the size of the image: images are not resized.
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='PackCellInputs'),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='CellDataset', ann_file='annotations/train.json', channel_order=channel_order,
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='CellDataset', ann_file='annotations/val.json', channel_order=channel_order, test_mode=True,
                 pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='CellDataset', ann_file='annotations/test.json', channel_order=channel_order, test_mode=True,
                 pipeline=test_pipeline))

# AP, AP50: every detection counts. AP@100, AP50@100: COCO's default of 100 detections a class and image.
# val_evaluator.out_file=metrics.json has boxes, recall, each class and size, too (docs/evaluation.md).
# Both evaluators use the annotation file of their data set.
val_evaluator = dict(type='CellMetric')
test_evaluator = dict(type='SubmissionFormatter')
