"""B1 to B3 with the small budget of _base_/small_budget.py, on crops of images of their own size.

    python tools/study.py studies/attention_and_color_small.py --out work_dirs/studies/attention_and_color_small

ResNet-50 starts from the ImageNet weights in weights/resnet50_imagenet_caffe_rgb_fp16.pth, which have Caffe's strides.
All have a learning rate of 2e-4.
"""

_base_ = ['attention_and_color.py', '_base_/small_budget.py']

settings = dict(
    model=dict(backbone=dict(
        style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))),
    train_dataloader=dict(dataset=dict(pipeline={'2': dict(
        _delete_=True, type='RandomApply', prob=1., transforms=[
            dict(type='CapLongSide', max_side=1024),
            dict(type='RandomCrop', crop_size=(256, 256), allow_negative_crop=True, recompute_bbox=True)])})),
    optim_wrapper=dict(optimizer=dict(lr=2e-4)))
