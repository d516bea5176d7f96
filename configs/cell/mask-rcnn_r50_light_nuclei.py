"""How well does a model of less than 20 MB find nuclei of many microscopes? The laptop recipe with fewer weights.

    python data_prep/to_coco.py DSB2018 --layout label-maps --rename cell=nucleus --out annotations/dsb2018
    python tools/train.py configs/cell/mask-rcnn_r50_light_nuclei.py

For images like those of the Data Science Bowl 2018, in fluorescence and in bright field, of many magnifications. The
box head has 5x5 px per RoI and 112 channels, so that the weights take less than 20 MB in half precision. The training
has 3,000 steps. Value here: validation AP50 .859 (benchmarks/dsb2018).
"""

_base_ = ['mask-rcnn_r50_light.py']

model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=5)),
        bbox_head=dict(roi_feat_size=5, fc_out_channels=112, num_classes=1),
        mask_head=dict(num_classes=1)),
    test_cfg=dict(rcnn=dict(mask_nms=dict(iou_threshold=.3))))

train_dataloader = dict(dataset=dict(
    ann_file='annotations/dsb2018/train.json',
    pipeline=[
        dict(type='LoadTiff'),
        dict(type='LoadCellAnnotations'),
        dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(.5, 2.)),
        dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
        dict(type='RandomFlip', prob=.5),
        dict(type='RandomRotate90'),
        dict(type='GammaJitter', max_gamma=2.),
        dict(type='DefocusBlur', prob=.2),
        dict(type='ImageNoise', prob=.2),
        dict(type='YOLOXHSVRandomAug', hue_delta=10, saturation_delta=40, value_delta=40),
        dict(type='PackCellInputs'),
    ]))
val_dataloader = dict(dataset=dict(ann_file='annotations/dsb2018/val.json'))
test_dataloader = dict(dataset=dict(ann_file='annotations/dsb2018/test.json'))
