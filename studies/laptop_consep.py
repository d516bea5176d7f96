"""How good is the laptop recipe on CoNSeP, against the ResNet-50 baseline that trains for as long?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/study.py studies/laptop_consep.py --jobs 2

Both are trained on four fifths of the images and measured on the others, with and without views (--tta), and then
trained on all images for the submission. On two CPU cores a training takes about an hour if it has them to itself: with
one crop of 512 px, 3,000 steps of the recipe take as long as 330 steps of two crops, which are the 30 epochs of the
baseline. The ImageNet weights are those in weights/, which have Caffe's strides. Values: benchmarks/consep/README.md.
"""

question = 'How good is the laptop recipe on CoNSeP, against the ResNet-50 baseline that trains for as long?'
vary = ['tta=false,true']
submission = True
settings = dict(
    train_dataloader=dict(num_workers=0, persistent_workers=False),
    val_dataloader=dict(num_workers=0, persistent_workers=False),
    test_dataloader=dict(num_workers=0),
    model=dict(backbone=dict(
        style='caffe', init_cfg=dict(checkpoint='weights/resnet50_imagenet_caffe_rgb_fp16.pth'))))
baseline = dict(config='../configs/cell/mask-rcnn_r50_consep.py', settings=dict(
    train_cfg=dict(val_interval=10), default_hooks=dict(checkpoint=dict(interval=10))))
recipe = dict(config='../configs/cell/mask-rcnn_r50_light_consep.py')
configs = [
    recipe,
    baseline,
    dict(recipe, name='light_all-images', final=True),
    dict(baseline, name='baseline_all-images', final=True),
]
del baseline, recipe
