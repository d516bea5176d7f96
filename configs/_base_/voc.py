"""Data: PASCAL VOC's 20 classes, from the annotation files that data_prep/to_coco.py writes to ./annotations/voc.

    python data_prep/to_coco.py VOCdevkit/VOC2012 --out annotations/voc --lists train=pascal_train.json val=test.json

This command takes the images of Tiny PASCAL VOC (1,349 training images, 100 test images) with PASCAL VOC's masks, so
that predictions of the test images can be measured. The test images serve as validation images. best_*.pth is therefore
chosen on the test images, whereas the last iter_*.pth is independent of them.

It is also possible to train on the unchanged JSON file of the course that published Tiny PASCAL VOC. Then there is no
validation, because the course's test images have no masks, and holes are filled, because its polygons cannot have any:

    --cfg-options train_dataloader.dataset.ann_file=pascal_train.json
    train_dataloader.dataset.data_prefix.img=train_images val_dataloader=None val_cfg=None val_evaluator=None

To predict the course's test images under the image ids of the course, call tools/test.py with --cfg-options
test_dataloader.dataset.ann_file=test.json test_dataloader.dataset.data_prefix.img=test_images. The file
test-results.json in the zip that it writes is the list of COCO results.
"""

# From detectron2's configs/Base-RCNN-FPN.yaml: in training the shorter side becomes one of 640 to 800 px, in tests 800;
# the longer side becomes at most 1333 px.
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
