"""Schedule: AdamW, 60 epochs; the learning rate rises during the first quarter and falls along a cosine to zero."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(.9, .999), weight_decay=5e-4))
# Shares of the training, so that the schedule follows max_epochs: here 15 epochs of warm-up.
param_scheduler = [
    dict(type='LinearLRByShare', start_factor=1e-3, end_share=.25, by_epoch=False),
    dict(type='CosineAnnealingLRByShare', begin_share=.25, by_epoch=False),
]
