"""How good is the laptop recipe on CoNSeP, against the ResNet-50 baseline that trains for as long?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/study.py studies/laptop_consep.py --jobs 2

Both are trained on four fifths of the images and measured on the others, with and without views (--tta). The recipe
then continues on enlarged images, and from there with pasted cells of the rare class. The first two models of the
recipe continue for 600 steps with all images, which gives the models for the submission. The 30 epochs of the baseline
are 330 steps of two crops, which took 115 minutes; 2,600 steps of one crop took the recipe 141 minutes. The ImageNet
weights are those in weights/, which have Caffe's strides. The continuations find the models in the default folder of
the study: where --out names another one, load_from must be changed. Values: benchmarks/consep/README.md.
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
configs = [
    dict(config='../configs/cell/mask-rcnn_r50_light_consep.py'),
    dict(config='../configs/cell/mask-rcnn_r50_consep.py', settings=dict(
        train_cfg=dict(val_interval=10), default_hooks=dict(checkpoint=dict(interval=10)))),
    dict(config='../configs/cell/mask-rcnn_r50_light_consep_enlarged.py', settings=dict(
        load_from='work_dirs/studies/laptop_consep/mask-rcnn_r50_light_consep/seed0',
        train_cfg=dict(max_iters=2000, val_interval=1000), optim_wrapper=dict(optimizer=dict(lr=4e-4)))),
    dict(config='../configs/cell/mask-rcnn_r50_light_consep_rare-paste.py', settings=dict(
        load_from='work_dirs/studies/laptop_consep/mask-rcnn_r50_light_consep_enlarged/seed0',
        train_cfg=dict(max_iters=1000, val_interval=500), optim_wrapper=dict(optimizer=dict(lr=4e-4)))),
    # A fifth of the steps, from a quarter of the learning rate down to zero.
    *(dict(config=f'../configs/cell/mask-rcnn_r50_{name}.py', name=name.replace('_consep', '') + '_all-images',
           final=True, settings=dict(
               load_from=f'work_dirs/studies/laptop_consep/mask-rcnn_r50_{name}/seed0',
               train_cfg=dict(max_iters=600), optim_wrapper=dict(optimizer=dict(lr=2e-4))))
      for name in ('light_consep', 'light_consep_enlarged')),
]
