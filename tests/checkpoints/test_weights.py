import argparse
import os
from collections import OrderedDict
from urllib.error import URLError

import mmengine.runner.checkpoint
import pytest
import torch
from _arguments import add_config_arguments, load_config
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint, save_checkpoint
from torch import nn

from mmcell.checkpoints import weights
from mmcell.checkpoints.weights import (
    UntrustedCheckpointError,
    WeightsError,
    find_newest_whole,
    is_whole,
    load_safely,
    trust_checkpoints,
)


@pytest.fixture(autouse=True)
def safe(monkeypatch):
    monkeypatch.setattr(weights, '_trusting', False)
    load_safely()


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_no_road_into_mmengine_runs_code(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    path = tmp_path / 'checkpoints' / 'net.pth'
    path.parent.mkdir()
    torch.save({'state_dict': {'weight': torch.ones(3, 2)}, 'meta': Harmful(tmp_path / 'harm')}, path)
    resnet = dict(type='ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    roads = [lambda: CheckpointLoader.load_checkpoint(str(path)),
             lambda: CheckpointLoader.load_checkpoint('https://example.org/net.pth'),
             lambda: load_checkpoint(nn.Linear(2, 3), str(path), map_location='cpu'),
             MODELS.build(resnet).init_weights]
    for road in roads:
        with pytest.raises(UntrustedCheckpointError, match=r'holds posix\.mkdir .*--trust-checkpoint'):
            road()
    assert not (tmp_path / 'harm').exists()
    trust_checkpoints()
    roads[0]()
    assert (tmp_path / 'harm').exists()


def test_the_commands_load_safely_whatever_the_config(tmp_path, monkeypatch):
    for name in ('_safe_torch_load', 'load_url', 'load_from_http'):
        monkeypatch.setattr(mmengine.runner.checkpoint, name, None)
    config = tmp_path / 'other.py'
    config.write_text("default_scope = 'mmpretrain'")
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    for flags, trusting in (([], False), (['--trust-checkpoint'], True)):
        load_config(argparse.Namespace(config=str(config), **vars(
            parser.parse_args(['--work-dir', str(tmp_path / 'run'), *flags]))))
        assert mmengine.runner.checkpoint._safe_torch_load is weights._load_file
        assert weights._trusting is trusting


def test_an_old_training_checkpoint_of_mmengine_opens_on_trust(tmp_path):
    path = str(tmp_path / 'epoch_1.pth')
    save_checkpoint({'meta': {'epoch': 1}, 'state_dict': nn.Linear(2, 3).state_dict(),
                     'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.], [1])}}}, path)
    with pytest.raises(UntrustedCheckpointError, match='HistoryBuffer'):
        CheckpointLoader.load_checkpoint(path)
    trust_checkpoints()
    loaded = CheckpointLoader.load_checkpoint(path)
    assert loaded['message_hub']['log_scalars']['train/loss'].current() == 1


def test_a_published_checkpoint_opens_as_it_is(tmp_path):
    meta = {'CLASSES': ('a', 'b'), 'env_info': 'text', 'config': 'model = dict()', 'epoch': 12, 'time': 'now'}
    path = str(tmp_path / 'mask_rcnn-1234abcd.pth')
    torch.save({'meta': meta, 'state_dict': OrderedDict(nn.BatchNorm1d(3).state_dict())}, path)
    assert CheckpointLoader.load_checkpoint(path)['meta'] == meta


def test_real_weights_open(real_data):
    path = real_data.parent / 'weights' / 'resnet50_imagenet_caffe_rgb_fp16.pth'
    assert 'conv1.weight' in CheckpointLoader.load_checkpoint(str(path))


def test_trust_is_used_where_it_is_needed_alone(tmp_path, monkeypatch):
    torch.save({'weight': torch.ones(2)}, tmp_path / 'plain.pth')
    monkeypatch.setattr(weights, 'load_trusted', lambda *args: pytest.fail('opened without need'))
    trust_checkpoints()
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'plain.pth'))['weight'].tolist() == [1, 1]


def test_what_is_no_dict_is_no_checkpoint(tmp_path):
    torch.save([torch.ones(2)], tmp_path / 'list.pth')
    with pytest.raises(WeightsError, match=r'list\.pth: not a checkpoint: a dict with weights expected, found list'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'list.pth'))


@pytest.mark.parametrize('damage', [b'', b'hello', 'cut'], ids=str)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'weight': torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-1000] if damage == 'cut' else damage)
    assert not is_whole(path)
    with pytest.raises(WeightsError, match=r'epoch_1\.pth: damaged, or not a checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))


def test_a_changed_bit_is_found(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    assert is_whole(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not is_whole(path)


@pytest.mark.parametrize('ages, newest', [
    ({'epoch_9': 30, 'epoch_10': 30, 'best_AP50_epoch_11': 1}, 'epoch_10'),
    ({'epoch_1': 10, 'epoch_2': 20}, 'epoch_2'),  # copied: their times say nothing
    ({'epoch_1': 10, 'epoch_2 cut': 5}, 'epoch_1'),
    ({'epoch_1': 10, 'iter_20': 5}, 'iter_20'),
    ({'epoch_1': 5, 'iter_20': 10}, 'epoch_1'),
    ({'best_AP50_epoch_1': 5, 'epoch_1 cut': 5}, None),
])
def test_the_newest_whole_checkpoint_is_found(tmp_path, ages, newest):
    for name, age in ages.items():
        path = tmp_path / f'{name.removesuffix(" cut")}.pth'
        torch.save({'weight': torch.ones(2)}, path)
        if name.endswith(' cut'):
            path.write_bytes(path.read_bytes()[:-30])
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_newest_whole(tmp_path) == (newest and tmp_path / f'{newest}.pth')


@pytest.mark.parametrize('name, url', [
    ('torchvision://resnet50', 'https://.*/resnet50'),
    ('https://example.org/weights/net.pth?x=1', 'https://example.org/weights/net.pth'),
])
def test_a_failed_download_says_what_to_put_where(monkeypatch, tmp_path, name, url):
    def refuse(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(weights, '_load_url', refuse)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=url) as error:
        CheckpointLoader.load_checkpoint(name)
    file_name = 'net.pth' if 'net.pth' in name else 'resnet50'
    assert f'{tmp_path}/checkpoints/{file_name}' in str(error.value)
    assert 'init_cfg=None' in str(error.value)


def test_a_file_at_that_place_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    path = tmp_path / 'checkpoints' / 'net.pth'
    torch.save({'weight': torch.ones(2)}, path)
    assert mmengine.runner.checkpoint.load_from_http('https://example.org/net.pth')['weight'].tolist() == [1, 1]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r'net\.pth: damaged'):
        CheckpointLoader.load_checkpoint('https://example.org/net.pth')
