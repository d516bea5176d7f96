"""System E2: does the weight decay of mask-rcnn_r50.py help? The same training without weight decay.

    python tools/train.py configs/voc/mask-rcnn_r50_no-weight-decay.py

30,000 iterations x 2 images / 1,349 = 44.5 epochs. Inferred: that there is no weight decay at all. If E1 was trained as
in its printed code (mask-rcnn_r50_bias-decay.py), detectron2's 1e-4 may have remained. Reported by its author: mAP
.42467 (with weight decay: .47416). Value and cost here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

optim_wrapper = dict(optimizer=dict(weight_decay=0.))
