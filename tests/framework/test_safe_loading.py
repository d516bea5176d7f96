import copy
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections import OrderedDict
from urllib.error import URLError

import mmengine.runner.checkpoint
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint, save_checkpoint
from support.examples import examples
from support.paths import REPO
from torch import nn

from mmcell.checkpoints.config import CheckpointConfigError
from mmcell.framework import safe_loading
from mmcell.framework.safe_loading import (
    UntrustedCheckpointError,
    WeightsError,
    load_tensors_only,
    load_trusted,
    trusting_checkpoints,
)
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


def flipped(content, position, bit):
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


def loaders_of(path, tmp_path):
    """Every way in which mmcell, MMEngine and MMDetection open a checkpoint."""
    return {'mmcell': lambda: load_tensors_only(path), 'trusted': lambda: load_trusted(path),
            'load_from': lambda: load_checkpoint(nn.Linear(40, 30), str(path)),
            'resume': lambda: CheckpointLoader.load_checkpoint(str(path), map_location='cpu'),
            'init_cfg': MODELS.build(dict(type='ResNet', depth=18, init_cfg=dict(
                type='Pretrained', checkpoint=str(path)))).init_weights,
            'detector': lambda: load_detector(path), 'trusted detector': lambda: load_detector(path, trusted=True),
            'url': lambda: CheckpointLoader.load_checkpoint(f'https://example.org/{path.name}'),
            'open file': lambda: load_tensors_only(io.BytesIO(path.read_bytes()))}


def test_a_flipped_bit_in_a_weight_is_found_whoever_opens_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    path = tmp_path / 'checkpoints' / 'net.pth'
    path.parent.mkdir()
    weights = nn.Linear(40, 30).state_dict()
    torch.save(weights, path)
    content = path.read_bytes()
    path.write_bytes(flipped(content, content.index(weights['weight'].numpy().tobytes()) + 100, 3))
    for name, load in loaders_of(path, tmp_path).items():
        with pytest.raises(WeightsError, match='damaged, or not a checkpoint .*check sum of its part') as error:
            load()
        assert name in ('open file', 'url') or str(path) in str(error.value), name


def test_no_flipped_byte_gives_other_weights(tmp_path):
    path = tmp_path / 'net.pth'
    torch.save({'state_dict': {'weight': torch.arange(6.), 'bias': torch.ones(2)}, 'meta': {'epoch': 3}}, path)
    content, expected = path.read_bytes(), load_tensors_only(path)
    for position in range(0, len(content), 1 if examples(5) > 1 else 3):
        path.write_bytes(flipped(content, position, position % 8))
        try:
            found = load_tensors_only(path)
        except WeightsError as error:
            assert '\n' not in str(error)
        else:
            assert found['meta'] == expected['meta']
            assert all(torch.equal(found['state_dict'][key], value) for key, value in expected['state_dict'].items())


@pytest.mark.parametrize('compression', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_unfolds_is_not_opened(tmp_path, compression):
    torch.save({'weight': torch.zeros(1000)}, tmp_path / 'net.pth')
    with zipfile.ZipFile(tmp_path / 'net.pth') as stored, zipfile.ZipFile(
            tmp_path / 'small.pth', 'w', compression) as small:
        for name in stored.namelist():
            small.writestr(name, stored.read(name))
    with pytest.raises(WeightsError, match='its parts are compressed'):
        load_tensors_only(tmp_path / 'small.pth')


def test_a_part_that_claims_more_bytes_than_it_has_is_refused_before_memory_is_reserved(tmp_path):
    path = tmp_path / 'net.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    place = content.rindex(b'net/data/0') - 46  # the entry of the weights in the list at the end
    assert content[place:place + 4] == b'PK\x01\x02'
    content[place + 24:place + 28] = (2 ** 32 - 2).to_bytes(4, 'little')
    path.write_bytes(content)
    with pytest.raises(WeightsError, match='its parts have other sizes than it states'):
        load_tensors_only(path)


def test_parts_that_share_their_bytes_are_not_read_again_and_again(tmp_path):
    path = tmp_path / 'net.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('net/data.pkl', bytes(100_000))
        for i in range(500):
            again = copy.copy(archive.infolist()[0])
            again.filename = f'net/data/{i}'
            archive.filelist.append(again)
    with pytest.raises(WeightsError, match='its parts overlap'):
        load_tensors_only(path)


def test_files_without_check_sums_are_compared_with_their_name_or_open_with_a_warning(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(safe_loading, 'print_log', lambda text, **kwargs: warnings.append(text))
    path = tmp_path / 'old.pth'
    torch.save({'weight': torch.ones(30)}, path, _use_new_zipfile_serialization=False)
    load_tensors_only(path)
    assert len(warnings) == 1 and 'old.pth: has the format of torch before 1.6' in warnings[0]
    digits = hashlib.sha256(path.read_bytes()).hexdigest()
    published = path.rename(tmp_path / f'net_r50-{digits[:8]}.pth')
    load_tensors_only(published)
    assert len(warnings) == 1
    published.write_bytes(flipped(published.read_bytes(), -30, 1))
    with pytest.raises(WeightsError, match=f'SHA-256 sum does not begin with {digits[:8]}'):
        load_tensors_only(published)


def unfolding_pickle(depth=60):
    """Returns a pickle of a dict with tuples that double in each of ``depth`` levels."""
    doubled = b''.join(bytes([ord('q'), i, ord('h'), i, 0x86]) for i in range(depth))
    return b'\x80\x02}K\x01\x85' + doubled + b'Ns.'


def write_parts(path, *parts):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return path


OTHER_PARTS = ('net/byteorder', b'little'), ('net/version', b'3\n')


@pytest.mark.parametrize('name', ['data.pkl', 'data.PKL', 'Data.Pkl'])
def test_no_name_hides_a_pickle_that_unfolds(tmp_path, name):
    path = write_parts(tmp_path / 'net.pth', (f'net/{name}', unfolding_pickle()), *OTHER_PARTS)
    with pytest.raises(WeightsError, match='as a key of a dict'):
        load_tensors_only(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('second', ['net/data.pkl', 'net/DATA.pkl'])
def test_a_file_with_two_parts_of_one_name_is_refused(tmp_path, second):
    parts = ('net/data.pkl', b'\x80\x02}.'), (second, unfolding_pickle()), *OTHER_PARTS
    path = write_parts(tmp_path / 'net.pth', *parts)
    with pytest.raises(WeightsError, match='several of its parts have the same name'):
        load_tensors_only(path)


def test_a_part_with_two_names_is_refused(tmp_path):
    # Newer versions of zipfile take the name from the extra field 0x7075; all cut names at a zero byte.
    path = write_parts(tmp_path / 'net.pth', ('net/data.pklXX', unfolding_pickle()), *OTHER_PARTS)
    path.write_bytes(path.read_bytes().replace(b'data.pklXX', b'data.pkl\0X'))
    with pytest.raises(WeightsError, match='one of its parts has two names'):
        load_tensors_only(path)


def with_two_tables(tmp_path):
    """Returns a file that torch reads as one checkpoint, and Python's zipfile as another one."""
    files = []
    for word in ('first', 'other'):
        torch.save({'word': word}, tmp_path / 'net.pth')
        content = (tmp_path / 'net.pth').read_bytes()
        with zipfile.ZipFile(tmp_path / 'net.pth') as archive:
            begin = archive.start_dir
        end = content.index(b'PK\x06\x06')
        files.append((content[:begin], content[begin:end], len(archive.infolist())))
    (parts, table, n_parts), (other_parts, other_table, _) = files
    moved, place = bytearray(other_table), 0
    for _ in range(n_parts):
        # zipfile will add the length of the first table to these positions, which lie behind the parts of the first.
        position = int.from_bytes(moved[place + 42:place + 46], 'little') + len(parts) - len(table)
        moved[place + 42:place + 46] = position.to_bytes(4, 'little')
        place += 46 + sum(int.from_bytes(moved[place + i:place + i + 2], 'little') for i in (28, 30, 32))
    end = (b'PK\x05\x06' + bytes(4) + 2 * n_parts.to_bytes(2, 'little') + len(table).to_bytes(4, 'little')
           + len(parts + other_parts).to_bytes(4, 'little') + bytes(2))
    (tmp_path / 'net.pth').write_bytes(parts + other_parts + table + moved + end)
    return tmp_path / 'net.pth'


def test_a_file_with_two_tables_of_contents_is_refused(tmp_path, monkeypatch):
    path = with_two_tables(tmp_path)
    with pytest.raises(WeightsError, match='its table of contents is not at its end'):
        load_tensors_only(path)
    # Otherwise, torch would load another pickle than the one that is checked.
    monkeypatch.setattr(safe_loading, '_has_one_table', lambda *unused: True)
    with open(path, 'rb') as file:
        assert [b'other' in content for content in safe_loading._pickles_of(file)] == [True]
    assert load_tensors_only(path) == {'word': 'first'}


@pytest.mark.parametrize('end', [b'\0', b'PK\x05\x06' + bytes(16), bytes(100)])
def test_bytes_behind_the_end_are_refused(tmp_path, end):
    torch.save({'weight': torch.zeros(9)}, tmp_path / 'net.pth')
    with open(tmp_path / 'net.pth', 'ab') as file:
        file.write(end)
    with pytest.raises(WeightsError, match='damaged, or not a checkpoint'):
        load_tensors_only(tmp_path / 'net.pth')


def test_a_name_in_a_file_adds_no_line_to_the_message(tmp_path):
    path = write_parts(tmp_path / 'net.pth', ('net/data.pkl', b'\x80\x02}.'), ('net/x\nmmcell: all is well', b'hello'))
    path.write_bytes(path.read_bytes().replace(b'hello', b'hallo'))
    with pytest.raises(WeightsError, match=r'the check sum of its part .* is wrong') as caught:
        load_tensors_only(path)
    assert '\n' not in str(caught.value)
