"""System E1: Tiny PASCAL VOC with Mask R-CNN, ResNet-50-FPN from ImageNet weights, and strong weight decay.

    python data_prep/voc_to_coco.py VOCdevkit/VOC2012 --splits train=pascal_train.json val=test.json
    python tools/train.py configs/voc/mask-rcnn_r50.py
    python tools/test.py configs/voc/mask-rcnn_r50.py work_dirs/voc/mask-rcnn_r50/iter_30000.pth --split val

Learning rate 2.5e-4, batch 2, weight decay .1, 128 RoIs an image, 30,000 iterations x 2 images / 1,349 = 44.5 epochs.
Reported by its author: mAP .47416. Value and cost here: not run yet.

Inferred: these numbers are those of detectron2's tutorial, and the rest is taken from its defaults: SGD with momentum
.9, linear warm-up over 1,000 iterations, no decay of the rate, image sizes, frozen batch normalisation. The weights
are torchvision's, with its normalisation, where detectron2 takes Caffe's.
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/voc.py',
    '../_base_/schedule_30k.py',
    '../_base_/runtime.py',
]

model = dict(
    # LoadTiff gives RGB.
    data_preprocessor=dict(bgr_to_rgb=False),
    # Else weight decay would shrink its scales.
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    roi_head=dict(
        bbox_roi_extractor=dict(type='CellRoIExtractor'),
        bbox_head=dict(num_classes=20),
        mask_roi_extractor=dict(type='CellRoIExtractor'),
        mask_head=dict(type='CellMaskHead', num_classes=20)),
    train_cfg=dict(
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner'), sampler=dict(num=128))))

optim_wrapper = dict(optimizer=dict(weight_decay=.1))
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=2500))
log_processor = dict(by_epoch=False)
work_dir = 'work_dirs/voc/mask-rcnn_r50'
