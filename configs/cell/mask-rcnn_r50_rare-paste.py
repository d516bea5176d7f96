"""Do rare classes gain if their cells are pasted into other images?

    python tools/train.py configs/cell/mask-rcnn_r50_rare-paste.py

The schedule is that of mask-rcnn_r50.py: 84 steps per epoch, 30 epochs, 2,520 steps in all. Up to nine cells of the two
rare classes of the challenge, class3 (neutrophils) and class4 (macrophages), are pasted into each crop, at places where
no cell loses more than a fifth of its area. For other data, name their rare classes. Value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

train_dataloader = dict(dataset=dict(
    _delete_=True,
    type='CellMixDataset',
    dataset=dict(type='CellDataset', ann_file='annotations/train.json', pipeline=[
        dict(type='LoadTiff'),
        dict(type='LoadCellAnnotations'),
        dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True, recompute_bbox=True),
        dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    ]),
    pipeline=[
        dict(type='CellCopyPaste', classes=['class3', 'class4'], max_num_pasted=10, max_covered=.2, places=20,
             edge_px=1.),
        dict(type='RandomFlip', prob=.75, direction=['horizontal', 'vertical', 'diagonal']),
        dict(type='PackCellInputs'),
    ]))
