import logging
from types import SimpleNamespace

import pytest
from mmdet.registry import HOOKS
from support.synthetic_data import write_annotations
from support.toy_runner import train
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mmcell.hooks import ParameterBudgetError
from mmcell.hooks.budget import count_parameters

# The parameters of the toy model: 3 x 8 + 8 and 8 x 3 + 3 of its linear layers, 2 x 8 of its norm.
N_TOY = 75


def model_with_all_kinds():
    """10 trainable and 6 frozen parameters; one layer occurs twice, and the norm also has buffers."""
    shared = nn.Linear(2, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    return nn.ModuleList([shared, frozen, shared, nn.BatchNorm1d(2)])


def test_every_parameter_is_counted_once():
    assert count_parameters(model_with_all_kinds()) == (10, 16)
    assert count_parameters(nn.ReLU()) == (0, 0)


def test_a_distributed_model_has_the_same_number_of_parameters(tmp_path):
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        assert count_parameters(DistributedDataParallel(model_with_all_kinds())) == (10, 16)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize('max_trainable, fits', [(10, True), (9, False), (None, True)])
def test_one_line_is_logged_and_the_limit_is_enforced(max_trainable, fits, caplog):
    hook = HOOKS.build(dict(type='ParameterBudgetHook', max_trainable=max_trainable))
    runner = SimpleNamespace(model=model_with_all_kinds(), logger=logging.getLogger('test'))
    with caplog.at_level(logging.INFO):
        if fits:
            hook.before_train(runner)
        else:
            with pytest.raises(ParameterBudgetError, match='10 trainable parameters, but only 9 are allowed'):
                hook.before_train(runner)
    assert [record.message for record in caplog.records] == ['Trainable parameters: 10 of 16']


def test_a_run_over_the_limit_does_not_start_and_an_ema_copy_does_not_count(raw_root, tmp_path):
    write_annotations(raw_root[0], tmp_path / 'a.json', ['a', 'b'])

    def run(max_trainable, **overrides):
        return train(tmp_path / 'a.json', tmp_path / 'run', custom_hooks=[
            dict(type='EMAHook', momentum=.1), dict(type='ParameterBudgetHook', max_trainable=max_trainable)],
            **overrides)
    with pytest.raises(ParameterBudgetError, match=f'{N_TOY} trainable'):
        run(N_TOY - 1)
    assert not list(tmp_path.rglob('*.pth'))
    assert run(N_TOY).epoch == 2
    resumed = dict(resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth'))
    with pytest.raises(ParameterBudgetError):
        run(N_TOY - 1, **resumed)
    assert run(N_TOY, **resumed).epoch == 2
