"""Data: PASCAL VOC's 20 classes from the files that data_prep/voc_to_coco.py writes to ./annotations/voc.

    python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --splits train=pascal_train.json val=test.json

has the images of Tiny PASCAL VOC (1,349 and 100) with PASCAL VOC's masks, so that its test images can be measured;
best_*.pth is then chosen on them, the last iter_*.pth is not. The JSON of the course trains as it is, without
validation (its test images have no masks), and with holes filled (polygons cannot have any):

    --cfg-options train_dataloader.dataset.ann_file=pascal_train.json
    train_dataloader.dataset.data_prefix.img=train_images val_dataloader=None val_cfg=None val_evaluator=None

To predict the course's test images under the course's ids, give tools/test.py
test_dataloader.dataset.ann_file=test.json test_dataloader.dataset.data_prefix.img=test_images: test-results.json in
the zip that it writes is the COCO result list.
"""

# detectron2's configs/Base-RCNN-FPN.yaml: the shorter side is one of these, 800 in tests, the longer at most 1333 px.
train_scales = [(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)]

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True),
    dict(type='RandomFlip', prob=.5),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackCellInputs'),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(type='TinyVOCDataset', ann_file='annotations/voc/train.json', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='TinyVOCDataset', ann_file='annotations/voc/val.json', test_mode=True, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='TinyVOCDataset', ann_file='annotations/voc/test.json', test_mode=True, pipeline=test_pipeline))

val_evaluator = dict(type='CellMetric')
test_evaluator = dict(type='SubmissionFormatter')
