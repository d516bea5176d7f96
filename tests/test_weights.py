from urllib.error import URLError

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.weights import WeightsError, explain_failed_downloads


@pytest.mark.parametrize('name, url', [
    ('torchvision://resnet50', 'https://.*/resnet50'),
    ('https://example.org/weights/net.pth?x=1', 'https://example.org/weights/net.pth'),
])
def test_a_failed_download_says_what_to_put_where(monkeypatch, tmp_path, name, url):
    def refuse(*args, **kwargs):
        raise URLError('no network')

    monkeypatch.setattr(mmengine.runner.checkpoint, 'load_url', refuse)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    explain_failed_downloads()
    with pytest.raises(WeightsError, match=url) as error:
        CheckpointLoader.load_checkpoint(name)
    file_name = 'net.pth' if 'net.pth' in name else 'resnet50'
    assert f'{tmp_path}/checkpoints/{file_name}' in str(error.value)
    assert 'init_cfg=None' in str(error.value)


def test_a_file_at_that_place_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    explain_failed_downloads()
    (tmp_path / 'checkpoints').mkdir()
    torch.save({'weight': torch.ones(2)}, tmp_path / 'checkpoints' / 'net.pth')
    loaded = CheckpointLoader.load_checkpoint('https://example.org/net.pth')
    assert loaded['weight'].tolist() == [1, 1]
