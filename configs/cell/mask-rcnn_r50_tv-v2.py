r"""System C1: how much does a start from COCO weights help? torchvision's Mask R-CNN "v2", SGD, 100 epochs.

    wget -P weights https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth
    python tools/convert_torchvision.py weights/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth \
        --out weights/mask-rcnn_r50_tv-v2_coco.pth
    python tools/train.py configs/cell/mask-rcnn_r50_tv-v2.py

The downloaded file is torchvision's MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1. It was trained on RGB images with the
mean and standard deviation of the baseline. When it is loaded, the log reports that the layers for COCO's 90 categories
have another size. The layers for the four classes of this config therefore start from random weights. For another file,
give --cfg-options load_from=FILE. To start without a file, give --cfg-options load_from=None
model.backbone.frozen_stages=-1: without the second setting, frozen layers would keep random weights.

Images are enlarged as in torchvision, to a short side of 800 px (long side at most 1,333). 100 epochs of 84 steps (167
images, batch 2) are 8,400 steps. The learning rate is .005, from 80 % of the training on .0005, and from 90 % on
.00005, whatever max_epochs is. The printed code leaves torchvision's 100 detections per image; with 1,000 see
mask-rcnn_r50_tv-v2_1000-detections.py. The model differs from torchvision's only in training: frozen layers keep their
BatchNorm statistics. --resume also restores the state of the optimiser. Reported: mAP about .487. Value here:
docs/studies/small_budget.md.
"""

_base_ = [
    '../_base_/mask-rcnn_r50_torchvision.py',
    '../_base_/cells.py',
    '../_base_/enlarged_images.py',
    '../_base_/schedule_30e.py',
    '../_base_/runtime.py',
]

norm_cfg = dict(type='BN')
model = dict(
    # Stem and first stage are frozen. The last three stages are trained, including their BatchNorm.
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
param_scheduler = [dict(type='MultiStepLRByShare', milestone_shares=[.8, .9], gamma=.1, by_epoch=False)]

train_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.enlarged_test_pipeline}}))
