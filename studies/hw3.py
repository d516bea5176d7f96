"""Which detector is the best after a few minutes on one GPU: ResNet-50, ConvNeXt-T, or Cascade Mask R-CNN?

    python tools/study.py studies/hw3.py --budget 9m

The same command continues until all three are trained and tested. It needs the annotation files of
data_prep/to_coco.py in annotations/, and no network. Both ResNets start from the ImageNet weights in
weights/resnet50_imagenet_caffe_rgb_fp16.pth, which have Caffe's strides. For ConvNeXt no weights were at hand: it
starts from random ones, as its name says, so that its row tells what missing weights cost, not how good it is. To start
from weights, put MMPretrain's file into weights/ and write init_cfg=dict(checkpoint='weights/…'). Value here: not run
yet.
"""

_base_ = ['_base_/one_gpu_epochs.py']

question = 'Which detector is the best after a few minutes on one GPU: ResNet-50, ConvNeXt-T, or Cascade Mask R-CNN?'
imagenet = dict(model=dict(backbone=dict(
    style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
random_weights = dict(model=dict(backbone=dict(init_cfg=None)))
configs = [
    dict(config='../configs/cell/mask-rcnn_r50.py', settings=imagenet),
    dict(config='../configs/cell/mask-rcnn_convnext.py', settings=random_weights,
         name='mask-rcnn_convnext_random-weights'),
    dict(config='../configs/cell/cascade-mask-rcnn_r50.py', settings=imagenet),
]
del imagenet, random_weights
