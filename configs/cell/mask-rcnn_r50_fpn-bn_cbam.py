"""System B3, "after every block": does attention over channels and positions help?

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn_cbam.py

This is mask-rcnn_r50_fpn-bn.py with a CBAM (reduction 16, 7x7) after every block of layer2 to layer4, with the same
schedule and the same data: 10,020 steps. The report also speaks of three attention layers: this other reading is
mask-rcnn_r50_fpn-bn_cbam-per-stage.py. Inferred: the value with which the gates start. Here it is .99: with .5,
features would be halved twice in each of 13 blocks, and hardly anything of them would be left. Reported:
validation AP .2925, AP50 .4466; test AP50 .3892. Value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_fpn-bn.py']

model = dict(backbone=dict(
    type='CBAMResNet', stages=(False, True, True, True), cbam=dict(reduction=16, kernel_size=7, initial_gate=.99)))
