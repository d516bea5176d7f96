"""Does it help to swap red and blue back in the images of the challenge?

    python data_prep/to_coco.py DATA_ROOT --out annotations --channel-order bgr --folds 3
    python tools/study.py studies/red_and_blue.py --out work_dirs/studies/red_and_blue --jobs 2

The laptop recipe with a third of its steps, three folds, true colours and colours as published. Stain jitter is left
out of both, because it knows only true colours. The ImageNet weights are those in weights/, which have Caffe's strides.
Values: docs/studies/red_and_blue.md.
"""

question = 'Does it help to swap red and blue back in the images of the challenge?'
folds = 3
settings = dict(
    train_cfg=dict(max_iters=1000, val_interval=1000),
    train_dataloader=dict(num_workers=0, persistent_workers=False, dataset=dict(
        pipeline={'6': dict(_delete_=True, type='RandomFlip', prob=0.)})),
    val_dataloader=dict(num_workers=0, persistent_workers=False),
    model=dict(backbone=dict(
        style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
as_published = dict(channel_order='rgb')
configs = [
    dict(config='../configs/cell/mask-rcnn_r50_light.py', name='as published', settings=dict(
        train_dataloader=dict(dataset=as_published), val_dataloader=dict(dataset=as_published))),
    dict(config='../configs/cell/mask-rcnn_r50_light.py', name='true colours'),
]
del as_published
