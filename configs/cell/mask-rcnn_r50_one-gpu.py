"""How fast is the ResNet-50 baseline on one GPU with everything that speeds it up, and does it find as many cells?

    python tools/train.py configs/cell/mask-rcnn_r50_one-gpu.py

Data, batch and schedule are those of mask-rcnn_r50.py: 2,520 steps. Every setting may be copied into other experiments,
or given as --cfg-options (docs/guides/train.md). All of them also work on a CPU, where only bfloat16 changes the speed.
GPUs from before 2020 have no bfloat16: optim_wrapper.dtype=float16 there. Speed and value here: not run yet.
"""

_base_ = ['mask-rcnn_r50.py']

# Images wait in memory from which the GPU can copy while it computes. Four batches per worker are ready.
train_dataloader = dict(num_workers=4, prefetch_factor=4, pin_memory=True)
val_dataloader = dict(pin_memory=True)
test_dataloader = dict(pin_memory=True)
model = dict(data_preprocessor=dict(non_blocking=True))
# Forward and backward in bfloat16, the rest of the matrix products in TF32, and one kernel for the whole step of AdamW.
optim_wrapper = dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16', optimizer=dict(fused=True))
default_hooks = dict(matmul_precision=dict(type='MatmulPrecisionHook', precision='high'))
env_cfg = dict(channels_last=['cpu', 'cuda'])
