"""System E1, its printed code: the same training as mask-rcnn_r50.py with a weight decay of .01 for biases only.

    python tools/train.py configs/voc/mask-rcnn_r50_bias-decay.py

The code sets detectron2's WEIGHT_DECAY_BIAS to .01 and no other weight decay, so that weights keep detectron2's default
of 1e-4. 30,000 iterations x 2 images / 1,349 = 44.5 epochs. Reported by its author: mAP .47416. Value and cost here:
not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

optim_wrapper = dict(
    optimizer=dict(weight_decay=1e-4),
    # Biases: 100 x 1e-4 = .01.
    paramwise_cfg=dict(bias_decay_mult=100.))
