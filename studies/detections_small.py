"""A3 with the model of backbones_small.py, and with the training of that study if --out is the same folder.

    python tools/study.py studies/detections_small.py --out work_dirs/studies/backbones_small
"""

_base_ = ['detections.py', '_base_/small_budget_enlarged.py']

settings = dict(
    model=dict(backbone=dict(
        style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))),
    optim_wrapper=dict(optimizer=dict(lr=2e-4)))
