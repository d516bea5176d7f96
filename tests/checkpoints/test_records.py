import json
import os

import pytest
import torch

from mmcell.checkpoints.records import find_checkpoint, find_newest_complete, is_complete, read_record
from mmcell.framework.safe_loading import WeightsError


def test_a_changed_bit_is_found(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    assert is_complete(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not is_complete(path)


def save(folder, name, **record):
    """Saves a checkpoint whose time on the disk is the older, the later it is saved, and a record if there is one."""
    path = folder / f'{name}.pth'
    torch.save({'weight': torch.ones(2)}, path)
    if record:
        path.with_suffix('.json').write_text(json.dumps(record))
    os.utime(path, (1e9 - len(list(folder.iterdir())),) * 2)
    return path


def best(value, rule='greater', name='AP50'):
    return {name: dict(value=value, rule=rule)}


@pytest.mark.parametrize('checkpoints, newest', [
    ({'epoch_9': {}, 'epoch_10': {}, 'best_AP50_epoch_11': {}}, 'epoch_10'),
    ({'epoch_1': {}, 'epoch_2 cut': {}}, 'epoch_1'),
    ({'best_AP50_epoch_1': {}, 'epoch_1 cut': {}}, None),
    # A second training in the same folder, which has done less.
    ({'epoch_4': dict(run='20260101_090000', iter=40), 'epoch_1': dict(run='20260101_100000', iter=10)}, 'epoch_1'),
    # As above, by checkpoints of earlier versions, whose records have only the time at which they were saved.
    ({'epoch_4': dict(time='20260101_090000', iter=40), 'epoch_1': dict(time='20260101_100000', iter=10)}, 'epoch_1'),
    # The same training, saved by epochs and by steps.
    ({'epoch_1': dict(run='20260101_090000', iter=10), 'iter_20': dict(run='20260101_090000', iter=20)}, 'iter_20'),
    ({'epoch_3': dict(run='20260101_090000', iter=30), 'iter_20': dict(run='20260101_090000', iter=20)}, 'epoch_3'),
])
def test_the_newest_complete_checkpoint_is_found(tmp_path, checkpoints, newest):
    for name, record in checkpoints.items():
        path = save(tmp_path, name.removesuffix(' cut'), **record)
        if name.endswith(' cut'):
            path.write_bytes(path.read_bytes()[:-30])
    assert find_newest_complete(tmp_path) == (newest and tmp_path / f'{newest}.pth')


RUN = dict(run='20260101_090000')
LATER = dict(run='20260101_100000')


@pytest.mark.parametrize('checkpoints, expected', [
    ({'epoch_9': {}, 'epoch_10': {}}, 'epoch_10'),
    ({'best_AP50_epoch_2': {}, 'best_AP50_epoch_1': {}, 'epoch_9': {}}, 'best_AP50_epoch_2'),
    ({'best_AP50_epoch_1': dict(**RUN, iter=10, best=best(.8)),
      'best_AP50_epoch_2': dict(**RUN, iter=20, best=best(.5)), 'epoch_3': dict(**RUN, iter=30)}, 'best_AP50_epoch_1'),
    ({'best_loss_epoch_1': dict(**RUN, iter=10, best=best(.8, 'less', 'loss')),
      'best_loss_epoch_2': dict(**RUN, iter=20, best=best(.5, 'less', 'loss'))}, 'best_loss_epoch_2'),
    # The name of the value has a slash, which file names cannot have.
    ({'best_coco_segm_mAP_epoch_1': dict(**RUN, iter=10, best=best(.8, name='coco/segm_mAP')),
      'epoch_2': dict(**RUN, iter=20)}, 'best_coco_segm_mAP_epoch_1'),
    # The best checkpoints for two values: the first one of save_best decides.
    ({'best_AP_epoch_2': dict(**RUN, iter=20, best={**best(.6), **best(.3, name='AP')}),
      'best_AP50_epoch_1': dict(**RUN, iter=10, best={**best(.6), **best(.2, name='AP')})}, 'best_AP50_epoch_1'),
    # A later training without validation: the best checkpoint of the earlier one is not its best.
    ({'best_AP50_epoch_2': dict(**RUN, iter=20, best=best(.8)), 'epoch_1': dict(**LATER, iter=10)}, 'epoch_1'),
    ({'some weights': {}}, 'some weights'),
])
def test_a_work_folder_stands_for_its_best_checkpoint(tmp_path, checkpoints, expected):
    for name, record in checkpoints.items():
        save(tmp_path, name, **record)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / f'{expected}.pth')


def test_folders_without_a_checkpoint_to_take_are_refused(tmp_path):
    with pytest.raises(WeightsError, match='holds no checkpoint'):
        find_checkpoint(str(tmp_path))
    for name in ('a', 'b'):
        save(tmp_path, name)
    with pytest.raises(WeightsError, match=r'holds 2 files \*\.pth, none of which .*: name one of them'):
        find_checkpoint(str(tmp_path))
    with pytest.raises(WeightsError, match='no checkpoint or work folder'):
        find_checkpoint(str(tmp_path / 'c'))
    assert find_checkpoint(str(tmp_path / 'a.pth')) == str(tmp_path / 'a.pth')


def test_a_record_that_is_missing_or_damaged_is_replaced_by_the_checkpoint_itself(tmp_path):
    path = save(tmp_path, 'epoch_1')
    torch.save(dict(meta=dict(epoch=1, iter=10, time='20260101_090000', cfg='a = 1', mmcell=dict(run='x'))), path)
    for text in (None, '{"run": ', '[1]', '\udcff'.encode('utf-8', 'surrogatepass')):
        if text is not None:
            path.with_suffix('.json').write_bytes(text if isinstance(text, bytes) else text.encode())
        record = read_record(path)
        assert (record.run, record.step, record.content['config']) == ('x', 10, 'a = 1')
    path.write_bytes(b'')
    assert read_record(path).content == {}
