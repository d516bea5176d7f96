"""System B2: do changes of brightness and colour help against stains that differ?

    python tools/train.py configs/cell/mask-rcnn_r50_fpn-bn_color.py

mask-rcnn_r50_fpn-bn.py with brightness +-30 % and, one time in five, grey. Schedule and data as there: 10,020 steps.
Reported: validation AP .2863, AP50 .4329; test AP50 .4499. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50_fpn-bn.py']

train_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    dict(type='CapLongSide', max_side=1024),
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='mmpretrain.ColorJitter', brightness=.3),
    # Weights of red, green and blue: ITU-R BT.601.
    dict(type='RandomGrayscale', prob=.2, keep_channels=True, channel_weights=(.299, .587, .114), color_format='rgb'),
    dict(type='PackCellInputs'),
]))
