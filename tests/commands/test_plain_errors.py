import pytest
import torch
from _arguments import plain_errors
from mmdet.registry import OPTIMIZERS


def test_ctrl_c_ends_a_command_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as stopped, plain_errors():
        raise KeyboardInterrupt
    assert stopped.value.code == 130 and capsys.readouterr().err == 'interrupted\n'


def test_a_setting_that_a_class_does_not_take_ends_a_command_without_a_traceback():
    settings = dict(type='SGD', lr=.1, betas=(.9, .999))
    with pytest.raises(SystemExit, match=r"error: SGD.*'betas'.*'_delete_': True"), plain_errors():
        OPTIMIZERS.build(dict(**settings, params=[torch.nn.Parameter(torch.ones(1))]))
    with pytest.raises(TypeError, match='is not JSON'), plain_errors():
        raise TypeError('set is not JSON serializable')
