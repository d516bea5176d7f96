"""Weights in half precision: what is rounded, what is kept, and what a detector predicts with them."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from support.commands import call
from support.narrow_detector import narrow_config

from mmcell.checkpoints.half_precision import HalfPrecisionError, to_bytes, to_half
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.inference.detector import load_detector
from mmcell.masks.encoding import masks_to_rles


def checkpoint_of(state, **other):
    return {'state_dict': OrderedDict(state), 'meta': {'epoch': 3, 'cfg': 'a = 1\n', 'mmcell': {'run': 'x'},
                                                       'hook_msgs': {}}, **other}


def test_large_tensors_are_rounded_and_the_rest_is_kept():
    state = {'conv.weight': torch.tensor([[1 + 2 ** -12, 1e-3]]), 'conv.bias': torch.tensor([1 + 2 ** -12]),
             'bn.running_var': torch.tensor([1e-9, 1e6]), 'huge': torch.tensor([[1e6]]),
             'nan': torch.tensor([[float('nan')]]), 'count': torch.tensor([[7]])}
    half = to_half(checkpoint_of(state, optimizer={}, message_hub={}, ema_state_dict={'a': torch.zeros(1)}))
    assert set(half) == {'state_dict', 'meta'}
    assert half['meta'] == {'epoch': 3, 'cfg': 'a = 1\n', 'mmcell': {'run': 'x'}, 'weights_precision': 'float16'}
    weights = half['state_dict']
    assert list(weights) == list(state)
    assert weights['conv.weight'].dtype == torch.float16
    assert weights['conv.weight'].tolist() == [[1., np.float16(1e-3)]]
    for name in ('conv.bias', 'bn.running_var', 'huge', 'nan', 'count'):
        assert weights[name].dtype == state[name].dtype
        torch.testing.assert_close(weights[name], state[name], rtol=0, atol=0, equal_nan=True)


def test_equal_checkpoints_give_equal_files_and_none_is_refused():
    state = {'a.weight': torch.randn(4, 4)}
    assert to_bytes(to_half(checkpoint_of(state))) == to_bytes(to_half(checkpoint_of(state)))
    assert to_half(state)['state_dict']['a.weight'].dtype == torch.float16  # a file that consists of the weights
    with pytest.raises(HalfPrecisionError, match='holds no weights'):
        to_half({'state_dict': {}})


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of a narrow detector, as a training would save it."""
    cfg = narrow_config('mask-rcnn_r50')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    path = tmp_path / 'best_AP50_epoch_3.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(
        cfg=cfg.pretty_text, dataset_meta=dict(classes=('a', 'b', 'c', 'd'), channel_order='rgb'))), path)
    return path


def test_a_checkpoint_can_be_carried_unchanged(trained, tmp_path):
    ended = call('tools/half_weights.py', trained, '--unchanged', '--out', tmp_path / 'carried' / 'epoch_3.pth')
    assert ended.returncode == 0, ended.stderr
    file, = (tmp_path / 'carried').iterdir()
    assert call('tools/half_weights.py', '--join', file, '--out', tmp_path / 'epoch_3.pth').returncode == 0
    assert (tmp_path / 'epoch_3.pth').read_bytes() == trained.read_bytes()


def predict(detector, image):
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1., 1.), img_id=0))
    with torch.no_grad():
        return detector.test_step(dict(inputs=[image], data_samples=[sample]))[0].pred_instances


def test_joined_weights_predict_what_the_rounded_weights_predict(trained, tmp_path):
    ended = call('tools/half_weights.py', trained, '--out', tmp_path / 'carried' / 'net.pth')
    assert ended.returncode == 0, ended.stderr
    file, = (tmp_path / 'carried').iterdir()
    content = file.read_bytes()
    size = len(content) // 3 + 1
    for number in (1, 2, 3):
        file.with_name(f'{file.name}.{number}-of-3').write_bytes(content[(number - 1) * size:number * size])
    file.unlink()
    ended = call('tools/half_weights.py', '--join', f'{file}.2-of-3', '--out', tmp_path / 'net.pth')
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / 'net.pth').stat().st_size < .6 * trained.stat().st_size
    rounded = load_tensors_only(trained)
    rounded['state_dict'] = {name: value.half().float() if value.ndim > 1 else value
                             for name, value in rounded['state_dict'].items()}
    torch.save(rounded, tmp_path / 'rounded.pth')
    joined, expected, exact = map(load_detector, (tmp_path / 'net.pth', tmp_path / 'rounded.pth', trained))
    for (name, value), other in zip(joined.state_dict().items(), expected.state_dict().values(), strict=True):
        assert value.dtype == other.dtype and torch.equal(value, other), name
    assert any(not torch.equal(value, other)
               for value, other in zip(joined.state_dict().values(), exact.state_dict().values(), strict=True))
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8))
    found = [predict(detector, image) for detector in (joined, expected)]
    assert len(found[0]) > 10
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(found[0][key], found[1][key]), key
    assert masks_to_rles(found[0].masks) == masks_to_rles(found[1].masks)
