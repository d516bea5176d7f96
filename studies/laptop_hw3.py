"""How good is the laptop recipe on the challenge, against the ResNet-50 baseline that trains for as long?

    python data_prep/to_coco.py DATA_ROOT --out annotations --channel-order bgr
    python tools/study.py studies/laptop_hw3.py --jobs 2

As in laptop_consep.py. With 27 training images (four fifths of the 34 images of the part that was at hand), 22 epochs
of the baseline take as long as 3,000 steps of the recipe. Values: benchmarks/hw3/README.md.
"""

_base_ = ['laptop_consep.py']

question = 'How good is the laptop recipe on the challenge, against the ResNet-50 baseline that trains for as long?'
baseline = dict(config='../configs/cell/mask-rcnn_r50.py', settings=dict(
    train_cfg=dict(max_epochs=22, val_interval=11), default_hooks=dict(checkpoint=dict(interval=11))))
recipe = dict(config='../configs/cell/mask-rcnn_r50_light.py')
configs = [
    recipe,
    baseline,
    dict(recipe, name='light_all-images', final=True),
    dict(baseline, name='baseline_all-images', final=True),
]
del baseline, recipe
