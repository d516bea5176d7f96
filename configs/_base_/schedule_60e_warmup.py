"""Schedule: AdamW, 60 epochs; the learning rate rises during the first quarter and falls along a cosine to zero."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=5e-4))
# The warm-up takes 15 of 60 epochs. If you change max_epochs, set end and begin to a quarter of it.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=15, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=15, convert_to_iter_based=True),
]
