"""Everything that keeps one GPU busy, for crops of 512 px.

The settings are those of configs/cell/mask-rcnn_r50_one-gpu.py, with more crops per step. Chosen without a GPU: the
first run on one shows in the column s/step whether batch and workers fit it.
"""

import os

# As many workers as this process may use processors, but for one that feeds the GPU. More than eight would not help:
# one worker makes a crop of CoNSeP in 11 ms.
n_processors = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
n_workers = min(max(n_processors - 1, 1), 8)
settings = dict(
    train_dataloader=dict(batch_size=8, num_workers=n_workers, prefetch_factor=4, pin_memory=True),
    val_dataloader=dict(num_workers=min(n_workers, 2), pin_memory=True),
    test_dataloader=dict(num_workers=min(n_workers, 2), pin_memory=True),
    model=dict(data_preprocessor=dict(non_blocking=True)),
    # Forward and backward in bfloat16, the rest of the matrix products in TF32, and one kernel for the whole step.
    optim_wrapper=dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16', optimizer=dict(fused=True)),
    env_cfg=dict(channels_last=['cpu', 'cuda']),
    **{'+default_hooks': dict(matmul_precision=dict(type='MatmulPrecisionHook'))})
# What is carried away from the machine is written in files of at most 15 MiB.
share_mib = 15
submission = True
del n_processors, n_workers
