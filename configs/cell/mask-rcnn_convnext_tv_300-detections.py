"""System A1: how good is the best network of the study of backbones if an image may have 300 detections, not 100?

    python tools/train.py configs/cell/mask-rcnn_convnext_tv_300-detections.py

Network and training are those of mask-rcnn_convnext_tv.py: 30 epochs of 84 steps, 2,520 in all. The limit has no effect
on training, so that its checkpoints can be tested with this config as well; only the best epoch may be another.
Reported: validation AP .362; test AP50 .4727 (public), .4810 (private). Value here: docs/studies/small_budget.md.
"""

_base_ = [
    '../_base_/mask-rcnn_convnext_torchvision.py',
    '../_base_/cells.py',
    '../_base_/enlarged_images.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

model = dict(test_cfg=dict(rcnn=dict(max_per_img=300)))

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
