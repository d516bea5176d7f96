"""The checks of tests/cuda on the CPU, so that they are known to work where no GPU is."""

import pytest
import torch
from support import device_checks


@pytest.mark.parametrize('name', ['ops', 'assignment', 'targets', 'pasting'])
def test_on_the_cpu(name):
    getattr(device_checks, f'check_{name}')('cpu')


def test_a_device_would_be_waited_for_a_fixed_number_of_times():
    assert device_checks.check_host_waits('cpu') == dict(assignment=9, targets=1, pasting=3)


@pytest.mark.parametrize('dtype, memory_format', [
    (torch.bfloat16, torch.contiguous_format), (None, torch.channels_last)], ids=['bfloat16', 'channels last'])
def test_a_training_step_on_the_cpu(dtype, memory_format):
    device_checks.check_training_step('cpu', dtype, memory_format)


def test_a_prediction_on_the_cpu():
    device_checks.check_prediction('cpu')
