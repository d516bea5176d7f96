import os
import subprocess
import sys

import pytest
import torch
from _arguments import plain_errors
from mmdet.registry import OPTIMIZERS
from mmengine.runner import Runner
from support.paths import REPO


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


@pytest.mark.parametrize('name', sorted(path.stem for path in (REPO / 'tools').glob('[!_]*.py')))
def test_ctrl_c_during_the_imports_of_a_command_ends_it_without_a_traceback(name, tmp_path):
    """Either mmcell, the first slow import, raises what Ctrl-C raises, or later the command itself does."""
    (tmp_path / 'mmcell').mkdir()
    (tmp_path / 'mmcell' / '__init__.py').write_text('raise KeyboardInterrupt')
    code = f'import sys; sys.path.insert(0, {str(REPO / "tools")!r}); import {name}; raise KeyboardInterrupt'
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                           env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert ended.stderr == 'interrupted\n' and ended.returncode != 0
