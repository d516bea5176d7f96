"""System E3: how good is a one-stage network, YOLACT with ResNet-50 (ImageNet), on the data of mask-rcnn_r50.py?

    python tools/train.py configs/voc/yolact_r50.py

Model, augmentation, batch 8, learning rate 1e-3 and weight decay 5e-4 are those of MMDetection's
yolact/yolact_r50_1xb8-55e_coco.py. 30,000 iterations x 8 images / 1,349 = 177.9 epochs at a constant learning rate. The
losses of YOLACT need bitmaps: each image costs memory in proportion to its number of objects x 550 x 550.
The author tried it and did not finish: there is no reported value. Value and cost here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

side = 550
# The side of the feature map at each of the five levels.
cells_a_side = [69, 35, 18, 9, 5]
mean = [123.68, 116.78, 103.94]
model = dict(
    _delete_=True,
    type='YOLACT',
    # LoadTiff loads images as RGB already.
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=mean, std=[58.4, 57.12, 57.38], bgr_to_rgb=False, pad_mask=True),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        zero_init_residual=False,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=dict(
        type='FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs='on_input',
        num_outs=5,
        upsample_cfg=dict(mode='bilinear')),
    bbox_head=dict(
        type='YOLACTHead',
        num_classes=20,
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=3,
            scales_per_octave=1,
            base_sizes=[8, 16, 32, 64, 128],
            ratios=[.5, 1., 2.],
            strides=[side / n for n in cells_a_side],
            centers=[(side * .5 / n, side * .5 / n) for n in cells_a_side]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[.1, .1, .2, .2]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, reduction='none', loss_weight=1.),
        loss_bbox=dict(type='SmoothL1Loss', beta=1., loss_weight=1.5),
        num_head_convs=1,
        num_protos=32,
        use_ohem=True),
    mask_head=dict(
        type='YOLACTProtonet',
        in_channels=256,
        num_protos=32,
        num_classes=20,
        max_masks_to_train=100,
        loss_mask_weight=6.125,
        with_seg_branch=True,
        loss_segm=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.)),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.4, min_pos_iou=0., ignore_iof_thr=-1,
            gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=.05, mask_thr=.5, iou_thr=.5, top_k=200, max_per_img=100,
        mask_thr_binary=.5))

train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(4., 4.)),
    # With to_rgb=True, Expand would reverse the mean for BGR images. Here both the images and the mean are RGB.
    dict(type='Expand', mean=mean, to_rgb=False, ratio_range=(1, 4)),
    dict(type='MinIoURandomCrop', min_ious=(.1, .3, .5, .7, .9), min_crop_size=.3),
    dict(type='Resize', scale=(side, side), keep_ratio=False),
    dict(type='RandomFlip', prob=.5),
    # This transform expects BGR images. Hues of RGB images shift in the opposite direction, which makes no difference,
    # because both directions are equally likely.
    dict(type='PhotoMetricDistortion', brightness_delta=32, contrast_range=(.5, 1.5), saturation_range=(.5, 1.5),
         hue_delta=18),
    dict(type='PackCellInputs'),
]
test_pipeline = [
    dict(type='LoadTiff'),
    dict(type='Resize', scale=(side, side), keep_ratio=False),
    dict(type='PackCellInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=5e-4))
