"""What does the laptop recipe of CoNSeP reach on one GPU, with eight crops per step in place of one?

    python data_prep/to_coco.py CONSEP --out annotations/consep --channel-order rgb
    python tools/study.py studies/light_consep.py --budget 9m

As in light_hw3.py. Value here: not run yet.
"""

_base_ = ['light_hw3.py']

question = 'What does the laptop recipe of CoNSeP reach on one GPU, with eight crops per step in place of one?'
configs = ['../configs/cell/mask-rcnn_r50_light_consep.py']
