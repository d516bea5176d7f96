"""torchvision's Mask R-CNN "v2" from COCO weights, with SGD for 100 epochs: what does a start from COCO give?

    wget -P weights https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth
    python tools/convert_torchvision.py weights/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth \\
        --out weights/mask-rcnn_r50_tv-v2_coco.pth
    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2.py

The file is torchvision's MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1, trained on RGB with the baseline's mean and standard
deviation. At the start the layers of COCO's 90 categories are listed as of another size: those of four classes start
from random weights. Another file: --cfg-options load_from=FILE. Images have their own size, as in the baseline. Frozen
layers keep their BatchNorm statistics; torchvision goes on counting in them. --resume restores the optimiser, too.
Cost: not run yet. Reported by its authors: mAP about .487. Value here: not run yet.
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
# Batch 2. lr 5e-3 up to epoch 80 (80 % of 100), 5e-4 up to 90 (90 %), then 5e-5.
train_cfg = dict(max_epochs=100)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[80, 90], gamma=.1)]
