"""How good is the ResNet-50 baseline on other data? CoNSeP, whose images are in true RGB.

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/train.py configs/cell/mask-rcnn_r50_consep.py

The schedule is that of mask-rcnn_r50.py. With 22 training images (four fifths of 27) and batch 2, an epoch has 11
steps, and the training 330. Value here: validation AP50 .350
(benchmarks/consep).
"""

_base_ = ['mask-rcnn_r50.py']

train_dataloader = dict(dataset=dict(ann_file='annotations/consep/train.json'))
val_dataloader = dict(dataset=dict(ann_file='annotations/consep/val.json'))
test_dataloader = dict(dataset=dict(ann_file='annotations/consep/test.json'))
