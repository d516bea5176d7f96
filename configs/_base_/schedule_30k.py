"""Schedule: SGD, 30,000 iterations; the learning rate rises during the first 1,000 and is constant afterwards."""

train_cfg = dict(type='IterBasedTrainLoop', max_iters=30000, val_interval=3000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=1e-4))
param_scheduler = [dict(type='LinearLR', start_factor=.001, by_epoch=False, begin=0, end=1000)]
