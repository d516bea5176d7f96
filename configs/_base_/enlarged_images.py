"""Data: pipelines that enlarge images as torchvision does inside its model, for the configs that name them.

The short side becomes 800 px, unless the long side would exceed 1,333 px.
"""

enlarge = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
enlarged_train_pipeline = [
    dict(type='LoadTiff'),
    dict(type='LoadCellAnnotations'),
    enlarge,
    dict(type='FilterAnnotations', by_mask=True, min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(type='PackCellInputs'),
]
enlarged_test_pipeline = [dict(type='LoadTiff'), enlarge, dict(type='PackCellInputs')]
