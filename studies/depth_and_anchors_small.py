"""D1 to D3 with the small budget of _base_/small_budget.py.

    python tools/study.py studies/depth_and_anchors_small.py --out work_dirs/studies/depth_and_anchors_small

The first row is the ResNet-50 with the ImageNet weights in weights/resnet50_imagenet_caffe_rgb_fp16.pth, which have
Caffe's strides, and the second one is the same model with default anchors: it stands for D3. For ResNet-18 and
ResNet-101 no weights were at hand. They are trained from random weights as a whole, with the statistics of each crop in
their BatchNorm, and so is the ResNet-50 of the third row, with which they can be compared. All have a learning rate of
2e-4. Images are padded to multiples of 32 px, not to 1,024 px.
"""

_base_ = ['depth_and_anchors.py', '_base_/small_budget.py']

settings = dict(
    train_dataloader=dict(dataset=dict(pipeline={'2': dict(
        _delete_=True, type='RandomApply', prob=1., transforms=[
            dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(256, 256), allow_negative_crop=True, recompute_bbox=True)])})),
    model=dict(data_preprocessor=dict(pad_size_divisor=32)),
    optim_wrapper=dict(optimizer=dict(lr=2e-4)))
imagenet = dict(model=dict(backbone=dict(
    depth=50, style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
random_weights = dict(model=dict(backbone=dict(
    init_cfg=None, frozen_stages=-1, norm_cfg=dict(requires_grad=True), norm_eval=False)))
configs = [
    dict(config='../configs/cell/mask-rcnn_r50_small-anchors.py', settings=imagenet),
    dict(config='../configs/cell/mask-rcnn_r101_default-anchors.py', settings=imagenet,
         name='mask-rcnn_r50_default-anchors'),
    dict(config='../configs/cell/mask-rcnn_r50_small-anchors.py', settings=random_weights,
         name='mask-rcnn_r50_small-anchors_random-weights'),
    dict(config='../configs/cell/mask-rcnn_r18_small-anchors.py', settings=random_weights,
         name='mask-rcnn_r18_small-anchors_random-weights'),
    dict(config='../configs/cell/mask-rcnn_r101_small-anchors.py', settings=random_weights,
         name='mask-rcnn_r101_small-anchors_random-weights'),
]
del imagenet, random_weights
