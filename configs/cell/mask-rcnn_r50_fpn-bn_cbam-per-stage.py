"""System B3, "three attention layers": does attention over channels and positions help after whole stages?

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn_cbam-per-stage.py

This is mask-rcnn_r50_fpn-bn.py with one CBAM (reduction 16, 7x7) after each of layer2, layer3 and layer4, as in the
public code of the report, with the same schedule and the same data: 10,020 steps. Its text says "after every block",
which is mask-rcnn_r50_fpn-bn_cbam.py. Inferred: that the gates start at .99, as there. Reported: validation AP .2925,
AP50 .4466; test AP50 .3892. Value here: docs/studies/small_budget.md.
"""

_base_ = ['mask-rcnn_r50_fpn-bn.py']

model = dict(backbone=dict(
    type='CBAMResNet', after='stage', stages=(False, True, True, True),
    cbam=dict(reduction=16, kernel_size=7, initial_gate=.99)))
