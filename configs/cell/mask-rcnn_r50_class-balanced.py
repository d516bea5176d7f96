"""Do rare classes gain if images that contain them are shown more often, at the same number of steps?

    python tools/train.py configs/cell/mask-rcnn_r50_class-balanced.py

The schedule is that of mask-rcnn_r50.py: 84 steps per epoch, 30 epochs, 2,520 steps in all. An image is drawn in
proportion to the factor of its rarest class, max(1, sqrt(.25 / fraction of the cells)), which is 3.5 and 3.7 for the
two rare classes of the challenge. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

train_dataloader = dict(sampler=dict(type='ClassBalancedSampler'))
