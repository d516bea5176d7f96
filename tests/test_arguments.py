import os

import pytest
from _arguments import find_checkpoint


def test_a_work_folder_stands_for_its_best_checkpoint(tmp_path):
    with pytest.raises(SystemExit, match='no checkpoint'):
        find_checkpoint(str(tmp_path))
    for age, name in ((30, 'best_AP50_epoch_2.pth'), (20, 'best_AP50_epoch_1.pth'), (10, 'epoch_9.pth')):
        (tmp_path / name).write_text('')
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'best_AP50_epoch_1.pth')
    assert find_checkpoint(str(tmp_path / 'epoch_9.pth')) == str(tmp_path / 'epoch_9.pth')
    for path in tmp_path.glob('best_*'):
        path.unlink()
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')
