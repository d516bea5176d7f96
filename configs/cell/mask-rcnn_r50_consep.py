"""The ResNet-50 baseline on other data: CoNSeP, whose images are in true RGB.

    python data_prep/to_coco.py CONSEP --out annotations/consep
    python tools/train.py configs/cell/mask-rcnn_r50_consep.py

Schedule as mask-rcnn_r50.py; 27 images, less a fifth: 22, 11 steps an epoch, 330 in all. Value: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

train_dataloader = dict(dataset=dict(ann_file='annotations/consep/train.json', channel_order='rgb'))
val_dataloader = dict(dataset=dict(ann_file='annotations/consep/val.json', channel_order='rgb'))
test_dataloader = dict(dataset=dict(ann_file='annotations/consep/test.json', channel_order='rgb'))
