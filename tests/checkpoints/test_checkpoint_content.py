import io
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmcell.checkpoints.content import ContentError, to_history_buffers, to_plain


def through_a_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize('value, plain', [
    (3, 3), (True, True), (2.5, 2.5), ('text', 'text'), (None, None),
    (np.float64(.25), .25), (np.int64(3), 3), (np.bool_(True), True), (np.str_('a'), 'a'),
    (Path('a') / 'b', 'a/b'),
    (deque([1, np.int8(2)], maxlen=5), [1, 2]),
    ((1, (2, [np.float32(.5)])), (1, (2, [.5]))),
    ({'a': {np.int64(4): Path('x')}}, {'a': {4: 'x'}}),
], ids=lambda value: type(value).__name__)
def test_values_become_plain_and_load_without_an_allowlist(value, plain):
    found = through_a_file(to_plain(value))
    assert found == plain and type(found) is type(plain)


def test_arrays_become_tensors():
    found = through_a_file(to_plain({'a': np.arange(3, dtype=np.int16), 'b': nn.Parameter(torch.ones(2))}))
    assert found['a'].tolist() == [0, 1, 2] and found['a'].dtype == torch.int16
    assert through_a_file(to_plain(np.array([1, 258], '>i4'))).tolist() == [1, 258]
    assert type(found['b']) is torch.Tensor


def test_a_state_dict_keeps_its_versions():
    state = nn.BatchNorm1d(3).state_dict()
    found = through_a_file(to_plain(state))
    assert isinstance(found, OrderedDict) and found._metadata[''] == {'version': 2}


def test_history_buffers_come_back():
    buffer = HistoryBuffer([1., 2., 4.], [1, 1, 2], max_length=7)
    found = to_history_buffers(through_a_file(to_plain({'train/loss': buffer})))['train/loss']
    assert isinstance(found, HistoryBuffer) and found.max_length == 7
    assert [values.tolist() for values in found.data] == [[1., 2., 4.], [1, 1, 2]]
    assert found.mean(2) == buffer.mean(2)
    already = {'train/loss': buffer}
    assert to_history_buffers(already) == already


@pytest.mark.parametrize('value', [print, object(), np.array([object()]), lambda: 0, HistoryBuffer,
                                   np.longdouble(1), np.zeros(2, np.longdouble), np.array(['a'])],
                         ids=lambda value: type(value).__name__)
def test_anything_else_is_refused_with_its_place(value):
    with pytest.raises(ContentError, match=r"checkpoint\['meta'\]\[1\] is a .*without running code"):
        to_plain({'meta': [0, value]})
