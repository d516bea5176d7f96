"""Schedule: AdamW, 3,000 steps; the learning rate rises during the first 100 and falls along a cosine to zero."""

train_cfg = dict(type='IterBasedTrainLoop', max_iters=3000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=8e-4, betas=(.9, .999), weight_decay=.05),
    clip_grad=dict(max_norm=10.))
param_scheduler = [
    dict(type='LinearLR', start_factor=.01, by_epoch=False, begin=0, end=100),
    # The cosine has no end and no T_max, so that it ends with the training, whatever max_iters a child config sets.
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0),
]
