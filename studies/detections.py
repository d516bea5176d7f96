"""A3: how many detections per image are worth keeping? One training, six tests.

    python tools/study.py studies/detections.py --out work_dirs/studies/detections

With the same --out as studies/backbones.py, the training of that study is taken, and only tests are run. The table in
the folder is then that of the last call; to get the other one back, give the other command again. The authors
report a test mAP of .3341 .3799 .3852 .4059 .4408 .4397 for 50 to 300 detections. Value here: configs/README.md.
"""

question = 'How many detections per image are worth keeping?'
configs = ['../configs/cell/mask-rcnn_r50_tv-v1.py']
vary = ['model.test_cfg.rcnn.max_per_img=50,100,150,200,250,300']
