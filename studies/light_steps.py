"""Which changes to the laptop recipe find more cells of CoNSeP, at a fifth of its length?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/study.py studies/light_steps.py --out work_dirs/studies/light_steps --jobs 2

Each row changes one setting of configs/cell/mask-rcnn_r50_light_consep.py, and trains 600 steps with as many pixels
each. The ImageNet weights are those in weights/, which have Caffe's strides. Values: benchmarks/consep/README.md.
"""

question = 'Which changes to the laptop recipe find more cells of CoNSeP, at a fifth of its length?'
settings = dict(
    train_cfg=dict(max_iters=600, val_interval=600),
    default_hooks=dict(checkpoint=dict(interval=200)),
    train_dataloader=dict(num_workers=0, persistent_workers=False),
    val_dataloader=dict(num_workers=0, persistent_workers=False),
    model=dict(backbone=dict(
        style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
light = '../configs/cell/mask-rcnn_r50_light_consep.py'
nothing = dict(_delete_=True, type='RandomFlip', prob=0.)
# What is expected to matter most comes first: the study can be stopped and continued.
configs = [
    light,
    dict(config='../configs/cell/cascade-mask-rcnn_r50_light.py', name='three box heads', settings=dict(
        train_dataloader=dict(dataset=dict(ann_file='annotations/consep/train.json')),
        val_dataloader=dict(dataset=dict(ann_file='annotations/consep/val.json')),
        test_dataloader=dict(dataset=dict(ann_file='annotations/consep/test.json')),
        **{'+model': dict(test_cfg=dict(
            rpn=dict(nms=dict(iou_threshold=.6)),
            rcnn=dict(one_class_per_box=True, nms=dict(iou_threshold=.5, class_agnostic=True),
                      mask_nms=dict(iou_threshold=.2, class_agnostic=True))))})),
    dict(config=light, name='cells of the rare class pasted', settings=dict(train_dataloader=dict(dataset=dict(
        _delete_=True, type='CellMixDataset',
        dataset=dict(type='CellDataset', ann_file='annotations/consep/train.json', pipeline=[
            dict(type='LoadTiff'),
            dict(type='LoadCellAnnotations'),
            dict(type='ScaleJitterCrop', crop_size=(512, 512), ratio_range=(.75, 1.33)),
            dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False)]),
        pipeline=[
            dict(type='CellCopyPaste', classes=['class1'], max_num_pasted=10, max_covered=.2, places=20, edge_px=1.),
            dict(type='RandomFlip', prob=.5),
            dict(type='RandomRotate90'),
            dict(type='StainJitter', alpha=.05, beta=.05),
            dict(type='PackCellInputs')])))),
    dict(config=light, name='images of rare classes drawn more often', settings=dict(
        train_dataloader=dict(sampler=dict(type='ClassBalancedInfiniteSampler')))),
    dict(config=light, name='the best of three averages of the weights', settings=dict(
        custom_hooks=[dict(type='MultiEMAHook', momenta=[.02, .005, .002], validate_raw=True)])),
    dict(config=light, name='masks of 56 px', settings=dict(model=dict(
        roi_head=dict(mask_roi_extractor=dict(roi_layer=dict(output_size=28))),
        train_cfg=dict(rcnn=dict(mask_size=56))))),
    dict(config=light, name='two sizes of anchors per level', settings=dict(model=dict(
        rpn_head=dict(anchor_generator=dict(scales=[3, 5]))))),
    dict(config=light, name='no stain jitter', settings=dict(
        train_dataloader=dict(dataset=dict(pipeline={'6': nothing})))),
    dict(config=light, name='no scale jitter', settings=dict(
        train_dataloader=dict(dataset=dict(pipeline={'2': dict(ratio_range=(1., 1.))})))),
    dict(config=light, name='enlarged 1.5 times', settings=dict(
        train_dataloader=dict(dataset=dict(pipeline={'2': dict(ratio_range=(1.125, 2.))})),
        val_dataloader=dict(dataset=dict(pipeline=[
            dict(type='LoadTiff'), dict(type='Resize', scale_factor=1.5), dict(type='PackCellInputs')])))),
    dict(config=light, name='all stages of the ResNet', settings=dict(model=dict(
        backbone=dict(num_stages=4, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(0, 1, 2, 3)),
        neck=dict(in_channels=[256, 512, 1024, 2048])))),
    dict(config=light, name='RoIs positive from an IoU of .6', settings=dict(model=dict(train_cfg=dict(
        rcnn=dict(assigner=dict(pos_iou_thr=.6, neg_iou_thr=.6, min_pos_iou=.6)))))),
    dict(config=light, name='twice the proposals and RoIs', settings=dict(model=dict(train_cfg=dict(
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000), rcnn=dict(sampler=dict(num=512)))))),
    dict(config=light, name='anchors positive from an IoU of .5', settings=dict(model=dict(
        train_cfg=dict(rpn=dict(assigner=dict(pos_iou_thr=.5)))))),
    dict(config=light, name='a quarter of the RoIs positive', settings=dict(
        model=dict(train_cfg=dict(rcnn=dict(sampler=dict(pos_fraction=.25)))))),
    dict(config=light, name='four crops of 256 px', settings=dict(train_dataloader=dict(
        batch_size=4, dataset=dict(pipeline={'2': dict(crop_size=(256, 256))})))),
    # In the recipe, half of the crops show a cell that is drawn, and the others lie anywhere.
    dict(config=light, name='all crops anywhere', settings=dict(
        train_dataloader=dict(dataset=dict(pipeline={'2': dict(uniform_fraction=1.)})))),
    dict(config=light, name='half the learning rate', settings=dict(optim_wrapper=dict(optimizer=dict(lr=4e-4)))),
    dict(config=light, name='Seesaw loss', settings=dict(model=dict(roi_head=dict(bbox_head=dict(loss_cls=dict(
        _delete_=True, type='SeesawLoss', p=.8, q=2., num_classes=4)))))),
]
del light, nothing
