import pytest
import torch
from mmdet.registry import OPTIM_WRAPPERS
from torch import nn

from mmcell.errors import MmcellError
from mmcell.framework import mixed_precision


def wrapper_of(model, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=.1)
    return OPTIM_WRAPPERS.build(dict(type='MixedPrecisionOptimWrapper', optimizer=optimizer, **kwargs))


def test_the_cpu_computes_in_bfloat16_without_a_scaled_loss(monkeypatch):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: 'cpu')
    said = []
    monkeypatch.setattr(mixed_precision, 'print_log', lambda text, **kwargs: said.append(text))
    model = nn.Linear(3, 2)
    wrapper = wrapper_of(model)
    assert said == ['Mixed precision: bfloat16 on cpu, without a scaled loss.']
    with wrapper.optim_context(model):
        output = model(torch.ones(4, 3))
    assert output.dtype == torch.bfloat16
    before = model.weight.detach().clone()
    loss = output.float().square().mean()
    wrapper.update_params(loss)
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)
    assert wrapper.scale_loss(loss) == loss and not wrapper.loss_scaler.is_enabled()


def test_a_state_with_a_scale_is_taken_up(monkeypatch):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: 'cpu')
    wrapper = wrapper_of(nn.Linear(3, 2))
    state = wrapper.state_dict()
    wrapper.load_state_dict({**state, 'loss_scaler': {'scale': 65536.}})
    wrapper.load_state_dict(state)
    assert not wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize('device, dtype, message', [
    ('cpu', 'float16', 'on cpu is for bfloat16, not float16'),
    ('cuda', 'float8', 'on cuda is for float16 and bfloat16, not float8'),
    ('mps', None, 'for cuda and cpu, the device is mps'),
])
def test_what_a_device_cannot_do_is_refused(monkeypatch, device, dtype, message):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: device)
    with pytest.raises(MmcellError, match=message):
        wrapper_of(nn.Linear(3, 2), dtype=dtype)
