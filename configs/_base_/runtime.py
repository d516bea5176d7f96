"""Runtime: hooks, logging, seeds, and the one place that names mmcell."""

custom_imports = dict(imports=['mmcell'], allow_failed_imports=False)
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CellCheckpointHook', interval=1, max_keep_ckpts=1, save_best='AP50', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Off; tools/test.py --show-dir turns it on.
    visualization=dict(type='CellVisualizationHook', draw=False, score_thr=.5),
    # Of several processes each has its own BatchNorm statistics: what is saved and validated is their mean.
    sync_buffers=dict(type='SyncBuffersHook'),
    # Here and not in custom_hooks, which stays free for experiments: dicts are merged, lists are replaced.
    class_count=dict(type='ClassCountHook'),
    # The rules of the challenge allow fewer than 200 million.
    parameter_budget=dict(type='ParameterBudgetHook', max_trainable=199_999_999),
    step_seed=dict(type='StepSeedHook'),
    finite_loss=dict(type='FiniteLossHook'))

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='CellVisualizer', vis_backends=vis_backends, name='visualizer', classes=None, scale=2)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)

# tools/test.py --tta predicts every combination of these. Boxes are merged by the NMS of the model's test_cfg; by
# weighted boxes fusion with tta_cfg=dict(wbf=dict(iou_threshold=.55)).
tta_model = dict(type='MaskTTAModel', scales=[1.], flips=[None, 'horizontal'], turns=[0, 1, 2, 3], tta_cfg=dict())

log_level = 'INFO'
load_from = None
resume = False
