import os
import subprocess
import sys
from collections import OrderedDict
from urllib.error import URLError

import mmengine.runner.checkpoint
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint, save_checkpoint
from support.paths import REPO
from torch import nn

from mmcell.checkpoints.config import CheckpointConfigError
from mmcell.framework import safe_loading
from mmcell.framework.safe_loading import UntrustedCheckpointError, WeightsError, trusting_checkpoints
from mmcell.inference.detector import load_detector


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_no_loader_of_mmengine_runs_code(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    path = tmp_path / 'checkpoints' / 'net.pth'
    path.parent.mkdir()
    torch.save({'state_dict': {'weight': torch.ones(3, 2)}, 'meta': Harmful(tmp_path / 'harm')}, path)
    resnet = dict(type='ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    loaders = [lambda: CheckpointLoader.load_checkpoint(str(path)),
               lambda: CheckpointLoader.load_checkpoint('https://example.org/net.pth'),
               lambda: load_checkpoint(nn.Linear(2, 3), str(path), map_location='cpu'),
               MODELS.build(resnet).init_weights]
    for load in loaders:
        with pytest.raises(UntrustedCheckpointError, match=r'holds posix\.mkdir .*--trust-checkpoint'):
            load()
    assert not (tmp_path / 'harm').exists()
    with trusting_checkpoints():
        loaders[0]()
    assert (tmp_path / 'harm').exists()


def save_harmful(path):
    torch.save({'state_dict': {'weight': torch.ones(2)}, 'meta': Harmful(path.with_suffix('.harm'))}, path)
    return str(path)


def test_trust_ends_with_its_block(tmp_path):
    first, second, third = (save_harmful(tmp_path / f'{name}.pth') for name in ('first', 'second', 'third'))
    with trusting_checkpoints():
        CheckpointLoader.load_checkpoint(first)
        with trusting_checkpoints(False), pytest.raises(UntrustedCheckpointError):
            CheckpointLoader.load_checkpoint(second)
    with pytest.raises(RuntimeError, match='in the middle'), trusting_checkpoints():
        raise RuntimeError('in the middle')
    for path in (second, third):
        with pytest.raises(UntrustedCheckpointError):
            CheckpointLoader.load_checkpoint(path)
    assert [path.name for path in tmp_path.glob('*.harm')] == ['first.harm']


def test_a_detector_that_was_trusted_gives_no_trust_to_the_next(tmp_path):
    trusted, untrusted = save_harmful(tmp_path / 'trusted.pth'), save_harmful(tmp_path / 'untrusted.pth')
    # The file is opened, and refused afterwards, because there is no config inside.
    with pytest.raises(CheckpointConfigError):
        load_detector(trusted, trusted=True)
    assert (tmp_path / 'trusted.harm').exists()
    with pytest.raises(UntrustedCheckpointError):
        load_detector(untrusted)
    with pytest.raises(UntrustedCheckpointError):
        CheckpointLoader.load_checkpoint(untrusted)
    assert not (tmp_path / 'untrusted.harm').exists()


@pytest.mark.parametrize('imports', [
    'import mmcell, mmengine.runner',
    pytest.param('import mmengine.runner, mmcell', marks=pytest.mark.slow)])
def test_loading_is_safe_whatever_is_imported_first(imports):
    code = f'{imports}; from mmengine.runner import checkpoint; print(checkpoint._safe_torch_load.__module__)'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=REPO)
    assert run.stdout.split()[-1] == 'mmcell.framework.safe_loading'


def test_an_old_training_checkpoint_of_mmengine_opens_on_trust(tmp_path):
    path = str(tmp_path / 'epoch_1.pth')
    save_checkpoint({'meta': {'epoch': 1}, 'state_dict': nn.Linear(2, 3).state_dict(),
                     'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.], [1])}}}, path)
    with pytest.raises(UntrustedCheckpointError, match='HistoryBuffer'):
        CheckpointLoader.load_checkpoint(path)
    with trusting_checkpoints():
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


def test_trust_is_used_only_where_it_is_needed(tmp_path, monkeypatch):
    torch.save({'weight': torch.ones(2)}, tmp_path / 'plain.pth')
    monkeypatch.setattr(safe_loading, 'load_trusted', lambda *args: pytest.fail('opened without need'))
    with trusting_checkpoints():
        assert CheckpointLoader.load_checkpoint(str(tmp_path / 'plain.pth'))['weight'].tolist() == [1, 1]


def test_a_file_without_a_dict_is_not_a_checkpoint(tmp_path):
    torch.save([torch.ones(2)], tmp_path / 'list.pth')
    with pytest.raises(WeightsError, match=r'list\.pth: not a checkpoint: a dict with weights expected, found list'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'list.pth'))


@pytest.mark.parametrize('damage', [b'', b'hello', 'cut'], ids=str)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'weight': torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-1000] if damage == 'cut' else damage)
    with pytest.raises(WeightsError, match=r'epoch_1\.pth: damaged, or not a checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))


@pytest.mark.parametrize('name, url', [
    ('torchvision://resnet50', 'https://.*/resnet50'),
    ('https://example.org/weights/net.pth?x=1', 'https://example.org/weights/net.pth'),
])
def test_a_failed_download_says_what_to_put_where(monkeypatch, tmp_path, name, url):
    def refuse(*args, **kwargs):
        raise URLError('no network')

    # Only the download itself is replaced, so that all functions of mmcell and MMEngine around it run.
    monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=url) as error:
        CheckpointLoader.load_checkpoint(name)
    file_name = 'net.pth' if 'net.pth' in name else 'resnet50'
    assert f'{tmp_path}/checkpoints/{file_name}' in str(error.value)
    assert 'init_cfg=None' in str(error.value)


def test_a_file_in_the_download_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    path = tmp_path / 'checkpoints' / 'net.pth'
    torch.save({'weight': torch.ones(2)}, path)
    assert mmengine.runner.checkpoint.load_from_http('https://example.org/net.pth')['weight'].tolist() == [1, 1]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r'net\.pth: damaged'):
        CheckpointLoader.load_checkpoint('https://example.org/net.pth')
