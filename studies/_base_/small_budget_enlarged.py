"""Crops from images that were enlarged as in configs/_base_/enlarged_images.py."""

_base_ = ['small_budget.py']

settings = dict(train_dataloader=dict(dataset=dict(pipeline={'2': dict(
    _delete_=True, type='RandomApply', prob=1., transforms=[
        dict(type='Resize', scale=(1333, 800), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(256, 256), allow_negative_crop=True, recompute_bbox=True)])})))
