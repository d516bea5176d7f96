"""Small pickles that would fill the memory or compute for years end in one line at once."""

import pickle
import time
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from mmcell.framework.bounded_pickles import refuse_unbounded
from mmcell.framework.safe_loading import WeightsError, load_tensors_only
from mmcell.predictions.dump_file import ResultsError, load_results


def call(name, arguments, memo=b''):
    """Returns the instructions that call a function with arguments, which are instructions as well."""
    module, _, function = name.rpartition('.')
    return b'c' + module.encode() + b'\n' + function.encode() + b'\n' + memo + b'(' + arguments + b't' + memo + b'R'


def text(n_bytes):
    return b'X' + n_bytes.to_bytes(4, 'little') + b'a' * n_bytes


def number(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, 'little')
    return b'\x8a' + bytes([len(data)]) + data


# A tuple that holds the tuple before twice, 60 times: its hash takes 2 ** 60 steps.
DOUBLED = b'K\x01\x85' + b''.join(bytes([ord('q'), i, ord('h'), i, 0x86]) for i in range(60))
LATIN1 = b'X\x06\0\0\0latin1'
BOMBS = {
    'a huge index into the memory': b'Nr\xff\xff\xff\x3f',
    'the same in text': b'Np1000000000\n',
    'a key whose hash takes forever': b'}' + DOUBLED + b'Ns',
    'the same among others': b'}(K\x01N' + DOUBLED + b'Nu',
    'a set of it': call('builtins.set', b']' + DOUBLED + b'a'),
    'the same by its old name': call('__builtin__.set', b']' + DOUBLED + b'a'),
    'a set by its own instruction': b'\x8f(' + DOUBLED + b'\x90',
    'a frozen set': b'(' + DOUBLED + b'\x91',
    'a counter of it': call('collections.Counter', b']' + DOUBLED + b'a'),
    'an ordered dict of it': call('collections.OrderedDict', b']' + DOUBLED + b'N\x86a'),
    'copies of a text': b'](c_codecs\nencode\nq\x01' + text(100_000) + LATIN1 + b'\x86q\x02R' + b'h\x01h\x02R' * 20_000
                        + b'e',
    'copies of bytes': b'](cbuiltins\nbytearray\nq\x01B\x00\x00\x10\x00' + bytes(2**20) + b'\x85q\x02R'
                       + b'h\x01h\x02R' * 20_000 + b'e',
    'an array of zeros': call('builtins.bytearray', number(10**11)),
    'a tensor of a size': call('torch.Tensor', number(10**5) + number(10**6)),
    'a tensor of another type': call('torch.DoubleTensor', number(10**11)),
    'a storage of a size': call('torch.FloatStorage', number(10**11)),
    'a shape of a size': call('torch.Size', number(10**11)),
    'attributes of a tensor': call('torch.Tensor', b'') + b'K\x01b',
    'bytes that are not there': b'\x8e' + b'\xff' * 7 + b'\x3f',
    'a frame that is not there': b'\x95' + b'\xff' * 7 + b'\x3f' + b'N',
    'a number that is not there': b'\x8b\xff\xff\xff\x7f',
    'a number in digits': b'L' + b'9' * 5000 + b'L\n',
    'an object of a class': b'ccollections\nOrderedDict\n)\x81',
    'an instance': b'(icollections\nOrderedDict\n',
    'an extension': b'\x82\x01',
    'an unknown instruction': b'\xff',
    'nothing': b'0',
}


def save_zip(path, content):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in (('net/data.pkl', content), ('net/byteorder', b'little'), ('net/version', b'3\n')):
            archive.writestr(name, data)


def save_old(path, content):
    path.write_bytes(pickle.dumps(MAGIC_NUMBER, 2) + pickle.dumps(PROTOCOL_VERSION, 2) + pickle.dumps({}, 2) + content
                     + pickle.dumps([], 2))


@pytest.mark.parametrize('name', BOMBS)
def test_no_reader_runs_into_a_bomb(tmp_path, name):
    content = b'\x80\x02' + BOMBS[name] + b'.'
    (tmp_path / 'r.pkl').write_bytes(content)
    save_zip(tmp_path / 'net.pth', content)
    save_old(tmp_path / 'old.pth', content)
    start = time.process_time()
    with pytest.raises(ResultsError) as error:
        load_results(tmp_path / 'r.pkl')
    assert '\n' not in str(error.value)
    for file in ('net.pth', 'old.pth'):
        with pytest.raises(WeightsError, match='not a checkpoint|holds .* beside tensors') as error:
            load_tensors_only(tmp_path / file)
        assert '\n' not in str(error.value)
    assert time.process_time() - start < 10


def test_values_that_nest_deeply_are_read_or_refused(tmp_path):
    content = b'\x80\x02' + b']' * 200_000 + b'a' * 199_999 + b'.'
    (tmp_path / 'r.pkl').write_bytes(content)
    save_zip(tmp_path / 'net.pth', content)
    with pytest.raises(ResultsError, match='must contain a list of dicts'):
        load_results(tmp_path / 'r.pkl')
    with pytest.raises(WeightsError, match='not a checkpoint'):
        load_tensors_only(tmp_path / 'net.pth')


@pytest.mark.parametrize('shape, strides', [
    ((10**12, 4), (0, 0)), ((10**6, 10**6), (1, 1)), ((-1,), (1,)), ((3,), (10**6,))])
def test_a_tensor_does_not_show_more_than_it_holds(tmp_path, shape, strides):
    class Wrong:
        def __reduce__(self):
            storage = torch.zeros(2).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, shape, strides, False, OrderedDict())

    (tmp_path / 'r.pkl').write_bytes(pickle.dumps([{'img_id': 1, 'pred_instances': {'bboxes': Wrong()}}], 2))
    with pytest.raises(ResultsError, match='cannot be read as a results file: '):
        load_results(tmp_path / 'r.pkl')


@pytest.mark.parametrize('zipped', [True, False])
def test_all_that_torch_reads_is_let_through(tmp_path, zipped):
    weights = OrderedDict(weight=torch.ones(2, 3), half=torch.ones(3).half().t(), view=torch.arange(9)[::2])
    weights._metadata = {'': {'version': 1}}
    meta = {'epoch': 3, 'lr': 1e-3, 'names': ('a', 'ü'), 1: None, (1, 'a'): 2, 'big': 10**80}
    content = {'state_dict': weights, 'meta': meta,
               'optimizer': {'state': {0: {'step': torch.tensor(5.), 'betas': (.9, .999)}}, 'flags': [True, False]},
               'bytes': b'abc', 'array': bytearray(b'xy'), 'set': {1, 'a'}, 'complex': 1j, 'counter': Counter('aab'),
               'size': torch.Size([2, 3]), 'dtype': torch.float16, 'device': torch.device('cpu'),
               'parameter': torch.nn.Parameter(torch.ones(2))}
    torch.save(content, tmp_path / 'net.pth', _use_new_zipfile_serialization=zipped)
    loaded = load_tensors_only(tmp_path / 'net.pth')
    assert loaded.keys() == content.keys() and loaded['meta'] == content['meta'] and loaded['set'] == content['set']
    assert torch.equal(loaded['state_dict']['view'], weights['view'])
    assert loaded['state_dict']._metadata == weights._metadata


def test_a_name_that_torch_refuses_is_left_to_torch():
    refuse_unbounded(pickle.dumps(print, 2))
