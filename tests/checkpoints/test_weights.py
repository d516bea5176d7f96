import os

import pytest
import torch

from mmcell.checkpoints.weights import find_checkpoint, find_newest_complete, is_complete
from mmcell.framework.safe_loading import WeightsError


def test_a_changed_bit_is_found(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    assert is_complete(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not is_complete(path)


@pytest.mark.parametrize('ages, newest', [
    ({'epoch_9': 30, 'epoch_10': 30, 'best_AP50_epoch_11': 1}, 'epoch_10'),
    ({'epoch_1': 10, 'epoch_2': 20}, 'epoch_2'),  # copied files, whose times say nothing
    ({'epoch_1': 10, 'epoch_2 cut': 5}, 'epoch_1'),
    ({'epoch_1': 10, 'iter_20': 5}, 'iter_20'),
    ({'epoch_1': 5, 'iter_20': 10}, 'epoch_1'),
    ({'best_AP50_epoch_1': 5, 'epoch_1 cut': 5}, None),
])
def test_the_newest_complete_checkpoint_is_found(tmp_path, ages, newest):
    for name, age in ages.items():
        path = tmp_path / f'{name.removesuffix(" cut")}.pth'
        torch.save({'weight': torch.ones(2)}, path)
        if name.endswith(' cut'):
            path.write_bytes(path.read_bytes()[:-30])
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_newest_complete(tmp_path) == (newest and tmp_path / f'{newest}.pth')


def test_a_work_folder_stands_for_its_best_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match='no checkpoint'):
        find_checkpoint(str(tmp_path))
    for age, name in ((30, 'best_AP50_epoch_2.pth'), (20, 'best_AP50_epoch_1.pth'), (10, 'epoch_9.pth')):
        (tmp_path / name).write_text('')
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'best_AP50_epoch_1.pth')
    assert find_checkpoint(str(tmp_path / 'epoch_9.pth')) == str(tmp_path / 'epoch_9.pth')
    for path in tmp_path.glob('best_*'):
        path.unlink()
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')
