"""A training with a toy model, in which everything else is real. It is fast enough for many tests."""

import itertools

import torch
from _launch import stop_workers
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

# MMEngine stores the state of an experiment globally under the experiment's name, so that each run needs its own name.
_run_numbers = itertools.count()


@MODELS.register_module()
class ToyModel(BaseModel):
    """Learns the mean colour of an image through dropout.

    Args:
        nan_at: The step, from 0, at which the loss becomes NaN; -1: never.
        n_hidden, n_outputs: The widths of the two layers.
    """

    def __init__(self, nan_at=-1, n_hidden=8, n_outputs=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, n_hidden), nn.BatchNorm1d(n_hidden), nn.Dropout(.5),
                                    nn.Linear(n_hidden, n_outputs))
        self.nan_at = nan_at
        self.n_calls = 0

    def forward(self, inputs, data_samples=None, mode='loss'):
        colors = torch.stack([image.float().mean((1, 2)) / 255 for image in inputs])
        if mode == 'predict':
            return data_samples
        self.n_calls += 1
        loss = (self.layers(colors)[:, :3] - colors).square().mean()
        return dict(loss=loss * float('nan') if self.n_calls == self.nan_at + 1 else loss)


class PlainConfig(Config):
    """A config whose text is not formatted, because MMEngine's formatting takes a second and is called many times."""

    @property
    def pretty_text(self):
        return '\n'.join(f'{key} = {value!r}' for key, value in self._cfg_dict.to_dict().items())


def toy_config(ann_file, work_dir, **overrides):
    """Returns a config of two epochs with five steps each.

    Args:
        ann_file: The annotation file of the training images.
        work_dir: The work folder.
        **overrides: Settings that replace those of the config; the keys have __ in place of the dots.
    """
    pipeline = [dict(type='LoadTiff'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='RandomCrop', crop_size=(20, 20), allow_negative_crop=True),
                dict(type='RandomFlip', prob=.5), dict(type='PackCellInputs')]
    cfg = PlainConfig(dict(
        default_scope='mmdet', work_dir=str(work_dir), model=dict(type='ToyModel'),
        train_dataloader=dict(
            batch_size=2, num_workers=0, sampler=dict(type='SeededSampler', shuffle=True, times=5),
            dataset=dict(type='CellDataset', ann_file=str(ann_file), pipeline=pipeline)),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=.01)),
        param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)],
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
        default_hooks=dict(checkpoint=dict(type='CellCheckpointHook', interval=1),
                           starting_checkpoint=dict(type='StartingCheckpointHook')),
        custom_hooks=[dict(type='StepSeedHook'), dict(type='FiniteLossHook'), dict(type='EMAHook', momentum=.1)],
        randomness=dict(seed=3), log_level='WARNING', experiment_name=f'toy_{next(_run_numbers)}'))
    for name, value in overrides.items():
        *parents, key = name.split('__')
        section = cfg
        for parent in parents:
            section = section[parent]
        section[key] = value
    return cfg


def train(*args, **overrides):
    runner = Runner.from_cfg(toy_config(*args, **overrides))
    runner.train()
    stop_workers(runner)
    return runner
