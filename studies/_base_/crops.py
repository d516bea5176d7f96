"""A small budget that two CPU cores finish: crops of 256 px after enlarging, a few hundred steps, one validation.

All configs of a study get the same crops, steps and learning rate, so that the table compares them at equal cost. It
does not tell which is the best after a long training.
"""

settings = dict(
    train_dataloader=dict(
        batch_size=2, num_workers=1,
        sampler=dict(times=5)),
    val_dataloader=dict(num_workers=1),
    train_cfg=dict(max_epochs=4, val_interval=4),
    randomness=dict(deterministic=False))
