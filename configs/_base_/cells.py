"""Data: the annotation files that data_prep/to_coco.py writes to ./annotations, and the metrics for them.

The annotation files state whether red and blue are swapped in the image files (data_prep/to_coco.py --channel-order).
"""

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    # Images that are smaller than a crop keep their size. Crops without a cell are kept, because the model also has to
    # learn what background looks like.
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True),
    # The box of a cell may reach into the crop although no pixel of its mask does: these cells are removed.
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackCellInputs'),
]
# Images are not resized: cells have the same size in pixels in small and in large images.
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='PackCellInputs'),
]

# Decoded images and cells stay in memory for all workers, within dataset.cache_gib; 0 decodes them for each sample.
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(type='CellDataset', ann_file='annotations/train.json',
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='CellDataset', ann_file='annotations/val.json', test_mode=True,
                 pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='CellDataset', ann_file='annotations/test.json', test_mode=True,
                 pipeline=test_pipeline))

# AP and AP50 count all detections; AP@100 and AP50@100 count at most 100 per image and class, which is COCO's default.
# With val_evaluator.out_file=metrics.json, the values for boxes, recall, and each class and size are written, too
# (docs/reference/metrics.md). Both evaluators use the annotation file of their data set.
val_evaluator = dict(type='CellMetric')
test_evaluator = dict(type='SubmissionFormatter')
