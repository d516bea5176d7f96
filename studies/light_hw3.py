"""What does the laptop recipe reach on one GPU, with eight crops per step in place of one?

    python tools/study.py studies/light_hw3.py --budget 9m

It needs the annotation files of data_prep/to_coco.py in annotations/, and no network. The same command continues until
all seeds are trained and tested. Value here: not run yet.
"""

_base_ = ['_base_/one_gpu.py']

question = 'What does the laptop recipe reach on one GPU, with eight crops per step in place of one?'
seeds = [0, 1, 2]
settings = dict(model=dict(backbone=dict(
    style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
configs = ['../configs/cell/mask-rcnn_r50_light.py']
