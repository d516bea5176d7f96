"""B1 to B3: do colour augmentation or attention (CBAM) help a Mask R-CNN on whole images?

    python tools/study.py studies/attention_and_color.py --out work_dirs/studies/attention_and_color

The authors report a validation AP50 of .4394 (B1), .4329 (B2) and .4466 (B3). Value here: configs/README.md.
"""

question = 'Do colour augmentation or attention (CBAM) help a Mask R-CNN on whole images?'
configs = [
    '../configs/cell/mask-rcnn_r50_fpn-bn.py',
    '../configs/cell/mask-rcnn_r50_fpn-bn_color.py',
    '../configs/cell/mask-rcnn_r50_fpn-bn_cbam.py',
    '../configs/cell/mask-rcnn_r50_fpn-bn_cbam-per-stage.py',
]
