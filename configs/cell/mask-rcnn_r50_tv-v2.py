r"""System C1: torchvision's Mask R-CNN "v2" from COCO weights, SGD, 100 epochs: what does a start from COCO give?

    wget -P weights https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth
    python tools/convert_torchvision.py weights/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth \
        --out weights/mask-rcnn_r50_tv-v2_coco.pth
    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2.py

The file is torchvision's MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1, trained on RGB with the baseline's mean and standard
deviation. At the start the layers of COCO's 90 categories are listed as of another size: those of four classes start
from random weights. Another file: --cfg-options load_from=FILE; none at all: load_from=None
model.backbone.frozen_stages=-1, or the frozen layers stay random.

Images are enlarged as torchvision does it, to a short side of 800 px (long side 1,333 at most). 100 epochs of 84 steps
(167 images, batch 2), 8,400 in all; lr .005, from epoch 80 .0005, from epoch 90 .00005; another length of training
moves the two. Detections are not told: the baseline's 1,000. Differs from torchvision in training alone: frozen layers
keep their BatchNorm statistics. --resume goes on with the state of the optimiser. Reported: mAP about .487. Value here:
not run yet.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

norm_cfg = dict(type='BN')
model = dict(
    # Stem and first stage frozen, the last three stages trained, BatchNorm as well.
    backbone=dict(frozen_stages=1, norm_cfg=dict(requires_grad=True), norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg)))
load_from = 'weights/mask-rcnn_r50_tv-v2_coco.pth'

optim_wrapper = dict(
    _delete_=True,
    type='MixedPrecisionOptimWrapper',
    optimizer=dict(type='SGD', lr=.005, momentum=.9, weight_decay=5e-4))
train_cfg = dict(max_epochs=100)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[80, 90], gamma=.1)]

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
