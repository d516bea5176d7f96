"""Schedule: AdamW, 30 epochs; the learning rate rises during the first epoch and falls along a cosine to zero."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=.05),
    clip_grad=dict(max_norm=10.))
param_scheduler = [
    dict(type='LinearLR', start_factor=.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    # The cosine has no end and no T_max, so that it ends with the training, whatever max_epochs a child config sets.
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True),
]
