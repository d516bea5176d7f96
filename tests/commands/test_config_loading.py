"""Configs of commands and the processes that share a run, and what tools/train.py makes of its own arguments."""

import argparse
import re

import mmengine.device
import pytest
import torch
from _config import load_config
from _launch import describe_idle_cores, processes, use_gloo_without_gpu
from _options import add_config_arguments
from mmengine.config import Config
from support.commands import CONFIG, call
from support.paths import REPO
from train import resume, use_mixed_precision

from mmcell.errors import MmcellError
from mmcell.settings.names import UnknownSettingError


def test_resuming_takes_the_newest_complete_checkpoint_or_starts(tmp_path, capsys):
    cfg = Config(dict(work_dir=str(tmp_path), resume=False, load_from=None))
    resume(cfg, 'auto')
    assert not cfg.resume and 'holds no checkpoint' in capsys.readouterr().err
    with pytest.raises(MmcellError, match='no complete checkpoint'):
        resume(cfg, str(tmp_path))
    with pytest.raises(MmcellError, match='no checkpoint or work folder .*nowhere'):
        resume(cfg, str(tmp_path / 'nowhere'))
    torch.save({'weight': torch.ones(1)}, tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_2.pth').write_bytes(b'cut')
    torch.save({'weight': torch.ones(1)}, tmp_path / 'best_AP50_epoch_1.pth')
    for value in ('auto', str(tmp_path), str(tmp_path / 'epoch_1.pth')):
        cfg.resume = False
        resume(cfg, value)
        assert cfg.resume and cfg.load_from == str(tmp_path / 'epoch_1.pth')


def test_a_work_folder_with_only_damaged_checkpoints_is_not_continued(tmp_path):
    (tmp_path / 'epoch_2.pth').write_bytes(b'cut')
    with pytest.raises(MmcellError, match=r'no checkpoint in .* is complete \(epoch_2\.pth\).* --resume FILE'):
        resume(Config(dict(work_dir=str(tmp_path), resume=False, load_from=None)), 'auto')


def test_weights_to_start_from_are_a_file_or_the_best_of_a_work_folder(tmp_path):
    (tmp_path / 'config.py').write_text('')
    arguments = parse_config_arguments(tmp_path / 'config.py', '--work-dir', tmp_path / 'run', '--cfg-options',
                                       f'+load_from={tmp_path}')
    with pytest.raises(MmcellError, match='holds no checkpoint'):
        load_config(arguments)
    for name in ('epoch_1', 'epoch_2', 'best_AP50_epoch_1'):
        torch.save({'weight': torch.ones(1)}, tmp_path / f'{name}.pth')
    assert load_config(arguments).load_from == str(tmp_path / 'best_AP50_epoch_1.pth')


@pytest.mark.parametrize('text, message', [
    ('model = dict(', r"SyntaxError: '\(' was never closed.*model = dict\("),
    ('_base_ = [None]', 'TypeError: '),
    ('_base_ = []\nimport nowhere_at_all', "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ('lr = rate * 2', "NameError: name 'rate' is not defined"),
])
def test_a_config_with_a_mistake_in_its_code_is_named(tmp_path, text, message):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(MmcellError, match=r'the config \S+mine\.py, .*cannot be read: ' + message):
        load_config(parse_config_arguments(tmp_path / 'mine.py', '--work-dir', tmp_path))


def test_mixed_precision_takes_the_place_of_the_plain_wrapper():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', dtype='bfloat16')))
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper == dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16')
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(MmcellError, match='ApexOptimWrapper'):
        use_mixed_precision(cfg)


def test_processes_on_cpus_need_torchrun(monkeypatch):
    monkeypatch.setattr(mmengine.device, 'get_device', lambda: 'cpu')
    with pytest.raises(MmcellError, match='--launcher slurm needs GPUs; without GPUs start with torchrun'):
        use_gloo_without_gpu(Config(dict(launcher='slurm', env_cfg=dict())))
    cfg = Config(dict(launcher='none', env_cfg=dict()))
    assert use_gloo_without_gpu(cfg) == 'none' and 'model_wrapper_cfg' not in cfg
    with processes('none') as (rank, n_processes):
        assert (rank, n_processes) == (0, 1)
    cfg.launcher = 'pytorch'
    assert use_gloo_without_gpu(cfg) == 'pytorch' and cfg.env_cfg.dist_cfg == dict(backend='gloo')
    assert cfg.model_wrapper_cfg.device_ids is None


def test_with_gpus_the_framework_connects_the_processes(monkeypatch):
    monkeypatch.setattr(mmengine.device, 'get_device', lambda: 'cuda')
    cfg = Config(dict(launcher='slurm', env_cfg=dict()))
    assert use_gloo_without_gpu(cfg) == 'none' and 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize('option, message', [
    ('amp=True', 'To give the flag of this name, write --amp without --cfg-options'),
    ('work_dirs=x', None)])
def test_a_setting_that_has_the_name_of_a_flag(tmp_path, option, message):
    (tmp_path / 'config.py').write_text('')
    args = parse_config_arguments(tmp_path / 'config.py', '--cfg-options', option)
    args.amp = False
    with pytest.raises(UnknownSettingError) as refused:
        load_config(args)
    assert getattr(refused.value, '__notes__', [None]) == [message]


def parse_config_arguments(config, *flags):
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return argparse.Namespace(config=str(config), **vars(parser.parse_args([str(flag) for flag in flags])))


@pytest.mark.parametrize(('n_processes', 'n_threads', 'n_cores', 'suitable'), [
    (2, 1, 2, None), (2, 1, 16, 8), (3, 5, 16, None), (2, 8, 8, 4), (4, 1, 2, None), (4, 2, 2, 1), (1, 4, 4, None)])
def test_cores_that_are_idle_or_shared_are_noted(n_processes, n_threads, n_cores, suitable):
    sentence = describe_idle_cores(n_processes, n_threads, n_cores)
    assert (sentence is None) == (suitable is None)
    assert sentence is None or f'OMP_NUM_THREADS={suitable} torchrun' in sentence


def test_the_launcher_must_fit_how_the_process_was_started(tmp_path, monkeypatch):
    (tmp_path / 'config.py').write_text('')
    with pytest.raises(MmcellError, match='start with torchrun'):
        load_config(parse_config_arguments(tmp_path / 'config.py', '--launcher', 'pytorch'))
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(MmcellError, match='2 processes would each do the whole work: add --launcher pytorch'):
        load_config(parse_config_arguments(tmp_path / 'config.py'))


def test_a_work_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'config.py').write_text('')
    (tmp_path / 'file').write_text('')
    with pytest.raises(MmcellError, match='cannot write to the folder .*file/run .*--work-dir'):
        load_config(parse_config_arguments(tmp_path / 'config.py', '--work-dir', tmp_path / 'file' / 'run'))


def test_a_fold_changes_the_data_and_the_work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').mkdir()
    config = tmp_path / 'configs' / 'mine.py'
    config.write_text("train_dataloader = dict(dataset=dict(type='CellDataset', ann_file='a/train.json'))")
    cfg = load_config(parse_config_arguments(config, '--cfg-options', 'fold=2'))
    assert cfg.train_dataloader.dataset == dict(type='CellDataset', ann_file='a/trainval.json', fold=2, held_out=False)
    assert cfg.work_dir == 'work_dirs/mine_fold2'
    assert load_config(parse_config_arguments(config)).work_dir == 'work_dirs/mine'
    for named in ('runs/a', 'runs/a_fold2', 'runs/a_fold0'):
        options = ['--cfg-options', 'fold=2', f'work_dir={named}']
        assert load_config(parse_config_arguments(config, *options)).work_dir == 'runs/a_fold2'
    assert load_config(parse_config_arguments(config, '--work-dir', 'x', '--cfg-options', 'fold=2')).work_dir == 'x'


@pytest.mark.parametrize('option, message', [
    ('vis_backends=[TensorboardVisBackend]', r'no setting vis_backends .*did you mean visualizer\.vis_backends'),
    ('visualizer.vis_backends=[TensorBoard]', 'there is no back end TensorBoard; did you mean TensorboardVisBackend'),
    ('+vis_backends=[TensorboardVisBackend]', 'vis_backends is read by nothing: set visualizer.vis_backends')])
def test_trackers_that_cannot_be_used_end_in_a_line_before_the_training(tmp_path, option, message):
    ended = call('tools/train.py', CONFIG, '--work-dir', tmp_path / 'run', '--cfg-options', option)
    assert ended.returncode == 1 and re.search(f'error: .*{message}', ended.stderr) and ended.stderr.count('\n') == 1
    assert not list(tmp_path.glob('run/*'))


def test_trackers_are_set_by_their_names_or_with_arguments(tmp_path):
    backends = load_config(parse_config_arguments(
        REPO / CONFIG, '--work-dir', tmp_path, '--cfg-options', 'visualizer.vis_backends=[TensorboardVisBackend,'
        "{'type':'WandbVisBackend','init_kwargs':{'project':'cells'}}]")).visualizer.vis_backends
    assert backends == ['TensorboardVisBackend', dict(type='WandbVisBackend', init_kwargs=dict(project='cells'))]
