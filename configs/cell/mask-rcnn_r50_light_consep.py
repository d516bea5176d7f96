"""How good is the laptop recipe on CoNSeP, whose published split has 27 training images in true RGB?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/train.py configs/cell/mask-rcnn_r50_light_consep.py

The training has 3,000 steps. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_light.py']

train_dataloader = dict(dataset=dict(ann_file='annotations/consep/train.json'))
val_dataloader = dict(dataset=dict(ann_file='annotations/consep/val.json'))
test_dataloader = dict(dataset=dict(ann_file='annotations/consep/test.json'))
