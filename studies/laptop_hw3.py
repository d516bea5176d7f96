"""How good is the laptop recipe on the challenge, against the ResNet-50 baseline that trains for as long?

    python data_prep/to_coco.py DATA_ROOT --out annotations --channel-order bgr
    python tools/study.py studies/laptop_hw3.py --jobs 2

As in laptop_consep.py. With 27 training images (four fifths of the 34 images of the part that was at hand), 22 epochs
of the baseline take as long as 3,000 steps of the recipe. Values: benchmarks/hw3/README.md.
"""

_base_ = ['laptop_consep.py']

question = 'How good is the laptop recipe on the challenge, against the ResNet-50 baseline that trains for as long?'
configs = [
    dict(config='../configs/cell/mask-rcnn_r50_light.py'),
    dict(config='../configs/cell/mask-rcnn_r50.py', settings=dict(
        train_cfg=dict(max_epochs=22, val_interval=11), default_hooks=dict(checkpoint=dict(interval=11)))),
    dict(config='../configs/cell/mask-rcnn_r50_light.py', name='light_all-images', final=True, settings=dict(
        load_from='work_dirs/studies/laptop_hw3/mask-rcnn_r50_light/seed0',
        train_cfg=dict(max_iters=600), optim_wrapper=dict(optimizer=dict(lr=2e-4)))),
]
