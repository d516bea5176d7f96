"""A2 and A1 with the small budget of _base_/small_budget.py.

    python tools/study.py studies/backbones_small.py --out work_dirs/studies/backbones_small

ResNet-50 starts from the ImageNet weights in weights/resnet50_imagenet_caffe_rgb_fp16.pth, which have Caffe's strides.
For ConvNeXt no weights were at hand: it starts from random ones, so that its row tells what missing weights cost, not
how good it is. All have a learning rate of 2e-4.
"""

_base_ = ['backbones.py', '_base_/small_budget_enlarged.py']

settings = dict(optim_wrapper=dict(optimizer=dict(lr=2e-4)))
imagenet = dict(model=dict(backbone=dict(
    style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
random_weights = dict(model=dict(backbone=dict(init_cfg=None)))
configs = [
    dict(config='../configs/cell/mask-rcnn_r50_tv-v1.py', settings=imagenet),
    dict(config='../configs/cell/mask-rcnn_r50_tv-v2_30e.py', settings=imagenet),
    dict(config='../configs/cell/mask-rcnn_convnext_tv.py', settings=random_weights),
    dict(config='../configs/cell/mask-rcnn_r50_tv-v1_better.py', settings=imagenet),
    dict(config='../configs/cell/mask-rcnn_convnext_tv_300-detections.py', settings=random_weights),
]
del imagenet, random_weights
