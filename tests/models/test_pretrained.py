"""Pretrained weights of a part of a model."""

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

import mmcell.models  # noqa: F401
from mmcell.framework.safe_loading import WeightsError


class Part(BaseModule):
    def __init__(self, **init_cfg):
        super().__init__(dict(type='Pretrained', **init_cfg))
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 3)


STATE = nn.ModuleDict(dict(first=nn.Linear(2, 3), second=nn.Linear(3, 3))).state_dict()


@pytest.mark.parametrize('content, prefix', [
    (STATE, None), ({'state_dict': STATE}, None),
    ({f'backbone.{name}': value for name, value in STATE.items()}, 'backbone.'),
    ({f'backbone.{name}': value for name, value in STATE.items()}, 'backbone'),
    ({'first.weight': STATE['first.weight'], 'first.bias': STATE['first.bias'], 'fc': torch.ones(1)}, None),
])
def test_weights_with_a_place_are_loaded(tmp_path, content, prefix):
    torch.save(content, tmp_path / 'w.pth')
    part = Part(checkpoint=str(tmp_path / 'w.pth'), prefix=prefix)
    part.init_weights()
    assert torch.equal(part.first.weight, STATE['first.weight'])


@pytest.mark.parametrize('content, prefix, found', [
    ({f'backbone.{name}': value for name, value in STATE.items()}, None, 0), (STATE, 'backbone', 0), ({}, None, 0),
    ({'first.weight': STATE['first.weight'], 'second.weight': torch.ones(3, 4)}, None, 1),
])
def test_weights_of_another_model_stop(tmp_path, content, prefix, found):
    torch.save(content, tmp_path / 'w.pth')
    with pytest.raises(WeightsError, match=rf'only {found} of the 4 weights of Part are in .*w\.pth'):
        Part(checkpoint=str(tmp_path / 'w.pth'), prefix=prefix).init_weights()
