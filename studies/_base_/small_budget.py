"""The small budget that two CPU cores finish: 216 steps with one crop of 256 px each, and 64 RoIs per image.

All configs of a study get the same number of steps, crops and proposals, so that the table compares them at equal cost.
It does not tell which is the best after a long training. The crop itself stands in each study, after the resizing of
its configs. With 27 training images, four epochs of two crops per image are 216 steps.
"""

settings = dict(
    train_dataloader=dict(batch_size=1, num_workers=0, sampler=dict(times=2)),
    val_dataloader=dict(num_workers=0),
    model=dict(train_cfg=dict(rpn_proposal=dict(max_per_img=1000), rcnn=dict(sampler=dict(num=64)))),
    train_cfg=dict(max_epochs=4, val_interval=2))
