import pytest
import torch
from _arguments import plain_errors
from mmdet.registry import OPTIMIZERS
from mmengine.runner import Runner


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


@pytest.mark.parametrize('settings, message', [
    (dict(type='SGD', lr='abc'), r"error: the config cannot be used: SGD\(lr='abc'\) cannot be built: TypeError: .*"),
    (dict(type='SDG', lr=.1), r"error: the config has type='SDG', but there is no class of this name"),
    (dict(lr=.1), 'error: the config cannot be used: .*must contain the key "type"'),
])
def test_values_from_which_nothing_can_be_built_end_a_command_without_a_traceback(settings, message):
    with pytest.raises(SystemExit, match=message) as stopped, plain_errors():
        OPTIMIZERS.build(dict(**settings, params=[torch.nn.Parameter(torch.ones(1))]))
    assert '\n' not in stopped.value.code


@pytest.mark.parametrize('loader, message', [(dict(batch_size=0), 'batch_size=0'), (dict(batch_size='two'), 'two')])
def test_a_data_loader_that_cannot_be_built_ends_a_command_without_a_traceback(loader, message):
    loader = dict(dataset=[1, 2], sampler=dict(type='DefaultSampler'), collate_fn=dict(type='pseudo_collate'), **loader)
    with pytest.raises(SystemExit, match=f'a data loader cannot be built: ValueError: .*{message}'), plain_errors():
        Runner.build_dataloader(loader)
