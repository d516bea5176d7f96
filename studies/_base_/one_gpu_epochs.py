"""Trainings of 30 epochs that fit into a few minutes each on one GPU.

An epoch is 16 passes over the images, because checkpoints and validations after every pass would take longer than the
steps.
"""

_base_ = ['one_gpu.py']

settings = dict(
    train_dataloader=dict(sampler=dict(times=16)),
    optim_wrapper=dict(optimizer=dict(lr=2e-4)),
    default_hooks=dict(checkpoint=dict(interval=3)),
    train_cfg=dict(max_epochs=30, val_interval=3))
