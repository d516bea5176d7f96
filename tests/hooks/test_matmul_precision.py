import torch
from mmdet.registry import HOOKS


def test_the_precision_is_set_for_the_run_and_set_back():
    before = torch.get_float32_matmul_precision()
    hook = HOOKS.build(dict(type='MatmulPrecisionHook'))
    hook.before_run(None)
    assert (before, torch.get_float32_matmul_precision()) == ('highest', 'high')
    hook.after_run(None)
    assert torch.get_float32_matmul_precision() == before
