"""How good are the strongest parts together: Cascade, ConvNeXt-V2-B, EMA, turns, changes of scale and of colour?

    python tools/train.py configs/cell/cascade-mask-rcnn_convnextv2-base.py --amp

Reported for this backbone and head: test AP50 .6069; and .6394, the best public value, with EMA, tiles, test-time
augmentation, fusion, copy-paste and all 209 images. Schedule and data are those of mask-rcnn_r50.py, except for the
augmentation: 167 training images (four fifths of 209), batch 2, 84 steps per epoch, 30 epochs, 2,520 steps in all. The
training stops early after 10 epochs without a better AP50. The EMA averages over about the last 500 steps, which are
six epochs. To save memory, activations of the backbone are computed again in the backward pass (with_cp). The licence
of ConvNeXt-V2's weights (CC BY-NC 4.0) allows no commercial use, also of models that start from them. Value here: not
run yet.
"""

_base_ = ['cascade-mask-rcnn_r50.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='base',
        use_grn=True,
        layer_scale_init_value=0.,
        out_indices=[0, 1, 2, 3],
        drop_path_rate=.4,
        gap_before_final_norm=False,
        with_cp=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/'
                       'convnext-v2/convnext-v2-base_fcmae-pre_3rdparty_in1k_20230104-00a70fa4.pth',
            prefix='backbone.')),
    neck=dict(in_channels=[128, 256, 512, 1024]))

train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    # Colours change before CellAffine adds a border, so that the border keeps its colour.
    dict(type='mmpretrain.ColorJitter', brightness=.2, contrast=.2, saturation=.1, hue=.02, backend='cv2'),
    dict(type='CellAffine', max_rotate_degree=0., max_translate_ratio=0., scaling_ratio_range=(.8, 1.25),
         max_shear_degree=0.),
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True),
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='RandomFlip', prob=.5),
    dict(type='RandomRotate90'),
    dict(type='PackCellInputs'),
]))
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-3, gamma=100, priority='ABOVE_NORMAL'),
    dict(type='CellEarlyStoppingHook', monitor='AP50', rule='greater', patience=10, min_delta=0.),
]
