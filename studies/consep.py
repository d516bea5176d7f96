"""The detectors of hw3.py on CoNSeP, whose images are in true RGB.

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/study.py studies/consep.py --budget 9m

With 22 training images (four fifths of 27), an epoch has 44 steps of 8 crops, and a training 1,320. Value here: not run
yet.
"""

_base_ = ['hw3.py']

settings = dict(
    train_dataloader=dict(dataset=dict(ann_file='annotations/consep/train.json')),
    val_dataloader=dict(dataset=dict(ann_file='annotations/consep/val.json')),
    test_dataloader=dict(dataset=dict(ann_file='annotations/consep/test.json')))
