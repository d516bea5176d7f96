"""Do anchors of the size and shape of cells find more cells? The question of D1 and D3, with a ResNet-50.

    python tools/study.py studies/anchors.py --out work_dirs/studies/anchors --seeds 0 1 2

The ResNet-50 takes the place of the ResNet-101, for which no weights were at hand.
"""

_base_ = ['_base_/crops.py']

question = 'Do anchors of the size and shape of cells find more cells?'
configs = ['../configs/cell/mask-rcnn_r101_small-anchors.py', '../configs/cell/mask-rcnn_r101_default-anchors.py']
settings = dict(
    model=dict(
        data_preprocessor=dict(pad_size_divisor=32),
        backbone=dict(depth=50, style='caffe', init_cfg=dict(checkpoint='weights/resnet50.pth'))),
    train_dataloader=dict(dataset=dict(pipeline=[
        dict(type='LoadTiff'),
        dict(type='LoadCellAnnotations'),
        dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(320, 320), allow_negative_crop=True, recompute_bbox=True),
        dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
        dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
        dict(type='PackCellInputs')])),
    optim_wrapper=dict(optimizer=dict(lr=2e-4)))
