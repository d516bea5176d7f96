"""D1 to D3: do deeper ResNets, and anchors of the size and shape of cells, find more cells?

    python tools/study.py studies/depth_and_anchors.py --out work_dirs/studies/depth_and_anchors

The authors report AP50 .357 (R101), .335 (R18), .334 (R50), and .339 (R101 with default anchors). Value here:
configs/README.md.
"""

question = 'Do deeper ResNets, and anchors of the size and shape of cells, find more cells?'
configs = [
    '../configs/cell/mask-rcnn_r101_small-anchors.py',
    '../configs/cell/mask-rcnn_r18_small-anchors.py',
    '../configs/cell/mask-rcnn_r50_small-anchors.py',
    '../configs/cell/mask-rcnn_r101_default-anchors.py',
]
