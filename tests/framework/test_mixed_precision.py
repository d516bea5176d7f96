"""Mixed precision on the CPU, and the devices and types that are refused."""

import pytest
import torch
from mmdet.registry import OPTIM_WRAPPERS
from torch import nn

from mmcell.errors import MmcellError
from mmcell.framework import mixed_precision


def wrapper_of(model, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=.1)
    return OPTIM_WRAPPERS.build(dict(type='MixedPrecisionOptimWrapper', optimizer=optimizer, **kwargs))


@pytest.mark.parametrize('is_fast', [True, False])
def test_the_cpu_computes_in_bfloat16_without_a_scaled_loss(monkeypatch, is_fast):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(mixed_precision, 'has_fast_bfloat16', lambda: is_fast)
    messages = []
    monkeypatch.setattr(mixed_precision, 'print_log', lambda text, **kwargs: messages.append(text))
    model = nn.Linear(3, 2)
    wrapper = wrapper_of(model)
    slow = [] if is_fast else [mixed_precision.SLOW_BFLOAT16]
    assert messages == ['Mixed precision: bfloat16 on cpu, without a scaled loss.', *slow]
    with wrapper.optim_context(model):
        output = model(torch.ones(4, 3))
    assert output.dtype == torch.bfloat16
    before = model.weight.detach().clone()
    loss = output.float().square().mean()
    wrapper.update_params(loss)
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)
    assert wrapper.scale_loss(loss) == loss and not wrapper.loss_scaler.is_enabled()


def test_a_state_with_a_loss_scale_is_loaded_without_the_scale(monkeypatch):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: 'cpu')
    wrapper = wrapper_of(nn.Linear(3, 2))
    state = wrapper.state_dict()
    wrapper.load_state_dict({**state, 'loss_scaler': {'scale': 65536.}})
    wrapper.load_state_dict(state)
    assert not wrapper.loss_scaler.is_enabled()


@pytest.mark.parametrize('device, dtype, message', [
    ('cpu', 'float16', 'on cpu works only with bfloat16, not float16'),
    ('cuda', 'float8', 'on cuda works only with float16 and bfloat16, not float8'),
    ('mps', None, 'only on cuda and cpu, but the device is mps'),
])
def test_unsupported_devices_and_types_are_refused(monkeypatch, device, dtype, message):
    monkeypatch.setattr(mixed_precision, 'get_device', lambda: device)
    with pytest.raises(MmcellError, match=message):
        wrapper_of(nn.Linear(3, 2), dtype=dtype)
