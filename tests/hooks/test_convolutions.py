"""Where convolutions are computed by Winograd's algorithm: in trainings, tests and loaded detectors on the CPU."""

import logging
from types import SimpleNamespace

from mmdet.registry import HOOKS
from torch import nn

from mmcell.models.winograd import WinogradConv2d


def run_hook(device):
    model = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1, device=device))
    HOOKS.build(dict(type='WinogradHook')).before_run(SimpleNamespace(model=model, logger=logging.getLogger('test')))
    return type(model[0])


def test_the_hook_changes_models_on_the_cpu_only():
    assert run_hook('cpu') is WinogradConv2d
    assert run_hook('meta') is nn.Conv2d
