"""C1 and C2 with the small budget of _base_/small_budget.py.

    python tools/study.py studies/learning_rate_small.py --out work_dirs/studies/learning_rate_small

COCO weights were not at hand. ResNet-50 starts from the ImageNet weights in
weights/resnet50_imagenet_caffe_rgb_fp16.pth, which have Caffe's strides. The precision is float32.
"""

_base_ = ['learning_rate.py', '_base_/small_budget_enlarged.py']

settings = dict(
    load_from=None,
    model=dict(backbone=dict(style='caffe', init_cfg=dict(
        _delete_=True, type='Pretrained', checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))),
    optim_wrapper=dict(type='OptimWrapper'))
