"""System E3: does a far larger backbone, ResNeXt-101-32x8d (ImageNet), help on 1,349 images?

    python tools/train.py configs/voc/mask-rcnn_x101-32x8d.py

The weights were trained with Caffe2, on BGR images with another mean and standard deviation than torchvision's. 30,000
iterations x 2 images / 1,349 = 44.5 epochs. The author tried it and did not finish: there is no reported value. Value
and cost here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

model = dict(
    # As in MMDetection's mask-rcnn_x101-32x8d_fpn_1x_coco.py, but LoadTiff loads RGB images, which become BGR here.
    data_preprocessor=dict(mean=[103.530, 116.280, 123.675], std=[57.375, 57.120, 58.395], rgb_to_bgr=True),
    backbone=dict(
        type='ResNeXt',
        depth=101,
        groups=32,
        base_width=8,
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnext101_32x8d')))
