"""Runtime: hooks, logging, seeds and views. This is the only config that imports mmcell."""

custom_imports = dict(imports=['mmcell'], allow_failed_imports=False)
default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CellCheckpointHook', interval=1, max_keep_ckpts=1, save_best='AP50', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Pictures are not drawn unless tools/test.py is called with --show-dir.
    visualization=dict(type='CellVisualizationHook', draw=False, score_thr=.5),
    # Each of several processes has its own BatchNorm statistics. Their mean is saved and validated.
    sync_buffers=dict(type='SyncBuffersHook'),
    # The following hooks are here and not in custom_hooks, which is a list. A config replaces an inherited list, but
    # extends an inherited dict: an experiment that sets custom_hooks would remove them from there.
    class_count=dict(type='ClassCountHook'),
    watched_value=dict(type='WatchedValueHook'),
    trackers=dict(type='TrackerHook'),
    starting_checkpoint=dict(type='StartingCheckpointHook'),
    # Only on the CPU; winograd=None computes all convolutions as torch does.
    winograd=dict(type='WinogradHook'),
    # The rules of the challenge allow fewer than 200 million trainable parameters.
    parameter_budget=dict(type='ParameterBudgetHook', max_trainable=199_999_999),
    step_seed=dict(type='StepSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
    stop=dict(type='StopHook'),
    missed_validation=dict(type='MissedValidationHook'))

env_cfg = dict(
    cudnn_benchmark=False,
    # Devices on which weights and features are in the memory format channels-last: 'cpu', 'cuda', both or [].
    channels_last=['cpu'],
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
# Trackers are further back ends: docs/guides/train.md.
visualizer = dict(
    type='CellVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer', classes=None, scale=2)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)

# With --tta, tools/test.py and tools/predict.py predict every combination of these scales, flips and quarter turns. The
# boxes are merged by the NMS of the model's test_cfg, or with tta_cfg=dict(wbf=dict(iou_threshold=.55)) by weighted
# boxes fusion.
tta_model = dict(type='MaskTTAModel', scales=[1.], flips=[None, 'horizontal'], turns=[0, 1, 2, 3], tta_cfg=dict())

log_level = 'INFO'
load_from = None
resume = False
