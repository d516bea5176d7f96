"""What the project does on a GPU compared with the CPU. The checks themselves are tested in tests/framework."""

import re

import pytest
import torch
from support import device_checks
from support.commands import CONFIG, TINY, read_log, run
from support.host_waits import counting_host_waits
from support.paths import REPO
from support.toy_runner import train

from mmcell.framework.safe_loading import load_tensors_only

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
ONE_PROCESS = ['-m', 'torch.distributed.run', '--nproc-per-node', '1']


@pytest.mark.parametrize('name', ['ops', 'assignment', 'targets', 'pasting', 'host_waits', 'prediction'])
def test_as_on_the_cpu(name):
    getattr(device_checks, f'check_{name}')('cuda')


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [None, torch.float16, torch.bfloat16])
def test_a_training_step(dtype, memory_format):
    if dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        pytest.skip('this GPU has no bfloat16')
    device_checks.check_training_step('cuda', dtype, memory_format)


def test_waiting_is_counted():
    values = torch.ones(3, device='cuda')
    with counting_host_waits('cuda') as waits:
        values.nonzero()
        values.sum().item()
    assert len(waits) >= 2


@pytest.mark.parametrize('wrapper', [
    dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=.01, fused=True)),
    dict(type='MixedPrecisionOptimWrapper', dtype='float16', optimizer=dict(type='AdamW', lr=.01, fused=True)),
], ids=['float32', 'float16'])
def test_resuming_is_exact_with_averaged_weights(annotation_file, tmp_path, wrapper):
    runner = train(annotation_file, tmp_path / 'at_once', optim_wrapper=wrapper)
    assert next(runner.model.parameters()).device.type == 'cuda'
    torch.rand(7, device='cuda')  # the state of the generators before the resumed run must not matter
    train(annotation_file, tmp_path / 'in_two', optim_wrapper=wrapper, resume=True,
          load_from=str(tmp_path / 'at_once' / 'epoch_1.pth'))
    at_once, in_two = (load_tensors_only(tmp_path / name / 'epoch_2.pth') for name in ('at_once', 'in_two'))
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in at_once[key].items():
            assert value.equal(in_two[key][name]), (key, name)
    weights, averages = (next(value for name, value in at_once[key].items() if name.endswith('layers.0.weight'))
                         for key in ('state_dict', 'ema_state_dict'))
    assert not weights.equal(averages)


def test_resuming_is_exact_with_averages_of_the_multi_ema_hook(annotation_file, tmp_path):
    hooks = [dict(type='StepSeedHook'), dict(type='MultiEMAHook', momenta=[.1], gamma=2)]
    runner = train(annotation_file, tmp_path / 'at_once', custom_hooks=hooks)
    averages = next(hook.averages for hook in runner.hooks if type(hook).__name__ == 'MultiEMAHook')
    assert {tensor.device.type for tensor in averages.weights['ema_0.1'].values()} == {'cuda'}
    train(annotation_file, tmp_path / 'in_two', custom_hooks=hooks, resume=True,
          load_from=str(tmp_path / 'at_once' / 'epoch_1.pth'))
    at_once, in_two = (load_tensors_only(tmp_path / name / 'epoch_2.pth') for name in ('at_once', 'in_two'))
    for checkpoint in (at_once, in_two):
        checkpoint['raw'] = checkpoint['weight_averages']['weights']['raw']
    for key in ('state_dict', 'raw'):
        assert all(value.equal(in_two[key][name]) for name, value in at_once[key].items())
    assert not at_once['state_dict']['layers.0.weight'].equal(at_once['raw']['layers.0.weight'])


def test_train_with_nccl_test_and_predict(tmp_path):
    run('data_prep/make_demo_data.py', tmp_path / 'data', '--images', 6, '--test-images', 2, '--size', 96)
    run('data_prep/to_coco.py', tmp_path / 'data', '--out', tmp_path / 'annotations', '--jobs', 1,
        '--val-ratio', .34)
    options = [*TINY, 'train_cfg.max_epochs=1', 'model.data_preprocessor.non_blocking=True',
               'train_dataloader.pin_memory=True', 'optim_wrapper.optimizer.fused=True',
               *(f'{split}_dataloader.dataset.ann_file={tmp_path}/annotations/{split}.json'
                 for split in ('train', 'val', 'test'))]
    run(*ONE_PROCESS, REPO / 'tools/train.py', REPO / CONFIG, '--launcher', 'pytorch', '--amp', '--work-dir',
        tmp_path / 'run', '--cfg-options', *options, cwd=tmp_path)
    assert re.search(r'device +cuda', read_log(tmp_path / 'run'))
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    assert all(value.isfinite().all() for value in load_tensors_only(checkpoint)['state_dict'].values())
    run('tools/test.py', CONFIG, checkpoint, '--split', 'val', '--work-dir', tmp_path / 'test',
        '--out', tmp_path / 'val.pkl', '--cfg-options', *options)
    for device in ('cuda', 'cpu'):
        run('tools/predict.py', checkpoint, tmp_path / 'data' / 'test_release', '--out', tmp_path / device,
            '--device', device, '--score-thr', '0', '--formats', 'labels', 'geojson', '--tile', '64', '--overlap', '16')
    names = [sorted(path.name for path in (tmp_path / device).iterdir()) for device in ('cuda', 'cpu')]
    assert names[0] == names[1] and len(names[0]) >= 4
