"""Models that are passed on: what their two files say, what is refused, and what a detector predicts with them."""

import hashlib
import json

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from safetensors.numpy import load_file
from support.commands import call
from support.narrow_detector import narrow_config

from mmcell.checkpoints import starters
from mmcell.checkpoints.half_precision import to_half
from mmcell.checkpoints.model_writing import write_model
from mmcell.checkpoints.records import find_checkpoint, read_record
from mmcell.framework.model_files import read_description, read_model
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.framework.weights_errors import WeightsError
from mmcell.inference.detector import load_detector
from mmcell.masks.encoding import masks_to_rles

CLASSES = ('a', 'b', 'c', 'd')


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of a narrow detector, as a training would save it."""
    cfg = narrow_config('mask-rcnn_r50')
    torch.manual_seed(0)
    path = tmp_path / 'best_AP50_epoch_3.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=dict(
        epoch=3, cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES, channel_order='bgr', mpp=.3))), path)
    return path


@pytest.fixture
def small(tmp_path):
    """A model of two tensors."""
    path = tmp_path / 'small.safetensors'
    write_model({'state_dict': {'a.weight': torch.full((2, 3), .5).half(), 'a.bias': torch.ones(3)},
                 'meta': {'cfg': 'model = dict()\n', 'dataset_meta': dict(classes=('a',)), 'epoch': 7}}, path,
                {'licence': 'CC0', 'mpp': .25})
    return path


def test_the_two_files_say_everything(small):
    description = json.loads(small.with_suffix('.json').read_text())
    assert description == {
        'format': 'mmcell model 1', 'licence': 'CC0', 'mpp': .25, 'classes': ['a'], 'channel_order': 'rgb',
        'parameters': 9, 'sha256': hashlib.sha256(small.read_bytes()).hexdigest(), 'training': {'epoch': 7},
        'config': 'model = dict()\n'}
    # Another reader of the format sees the same weights.
    weights = load_file(small)
    assert weights['a.weight'].dtype == np.float16 and weights['a.weight'].tolist() == [[.5] * 3] * 2
    loaded = load_tensors_only(small)
    assert loaded['meta']['cfg'] == 'model = dict()\n' and loaded['meta']['epoch'] == 7
    assert loaded['meta']['dataset_meta'] == {'classes': ('a',), 'channel_order': 'rgb', 'mpp': .25}
    assert loaded['state_dict']['a.weight'].dtype == torch.float16


def test_a_detector_predicts_what_its_rounded_checkpoint_predicts(trained, tmp_path):
    ended = call('tools/export_model.py', trained, '--out', tmp_path / 'net.safetensors', '--licence', 'CC0')
    assert ended.returncode == 0, ended.stderr
    assert 'classes a, b, c, d' in ended.stdout and ': --data, --scope, --scores\n' in ended.stdout
    rounded = tmp_path / 'rounded.pth'
    torch.save(to_half(load_tensors_only(trained)), rounded)
    image = torch.randint(0, 255, (3, 96, 96), dtype=torch.uint8)
    found = []
    for path in (rounded, tmp_path / 'net.safetensors'):
        detector = load_detector(path)
        assert detector.dataset_meta == {'classes': CLASSES, 'channel_order': 'bgr', 'mpp': .3}
        sample = DetDataSample(metainfo=dict(img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1., 1.)))
        with torch.no_grad():
            cells = detector.test_step(dict(inputs=[image], data_samples=[sample]))[0].pred_instances
        found.append((cells.scores.numpy(), masks_to_rles(cells.masks)))
    assert len(found[0][0]) and (found[0][0] == found[1][0]).all() and found[0][1] == found[1][1]


@pytest.mark.parametrize(('orders', 'order'), [(('bgr', 'bgr'), 'bgr'), (('bgr', 'rgb'), 'rgb')])
def test_a_model_of_joined_data_sets_is_exported(trained, tmp_path, orders, order):
    loaded = torch.load(trained)
    loaded['meta']['dataset_meta'] = [dict(classes=CLASSES, channel_order=each, mpp=.3) for each in orders]
    torch.save(loaded, trained)
    ended = call('tools/export_model.py', trained, '--out', tmp_path / 'net.safetensors')
    assert ended.returncode == 0, ended.stderr
    exported = load_detector(tmp_path / 'net.safetensors').dataset_meta
    assert exported == load_detector(trained).dataset_meta == dict(classes=CLASSES, channel_order=order, mpp=.3)


def test_scores_are_taken_from_an_evaluation(trained, tmp_path):
    (tmp_path / 'metrics.json').write_text(json.dumps({'values': {'AP50': .75, 'PQ_pooled': .5, 'other': 1.}}))
    call('tools/export_model.py', trained, '--out', tmp_path / 'net.safetensors', '--scores', tmp_path / 'metrics.json')
    assert read_description(tmp_path / 'net.safetensors')['scores'] == {'AP50': .75, 'PQ_pooled': .5}
    (tmp_path / 'metrics.json').write_text('[]')
    ended = call('tools/export_model.py', trained, '--out', tmp_path / 'b.safetensors', '--scores',
                 tmp_path / 'metrics.json')
    assert ended.returncode == 1 and 'is no file of tools/evaluate.py --out' in ended.stderr
    assert not (tmp_path / 'b.safetensors').exists()


def test_a_record_of_a_checkpoint_is_not_overwritten(trained, tmp_path):
    (tmp_path / 'net.json').write_text('{"epoch": 3}')
    ended = call('tools/export_model.py', trained, '--out', tmp_path / 'net.safetensors')
    assert ended.returncode == 1 and 'would be overwritten' in ended.stderr
    assert (tmp_path / 'net.json').read_text() == '{"epoch": 3}'
    for _ in range(2):  # a model may be written again
        assert call('tools/export_model.py', trained, '--out', tmp_path / 'b.safetensors').returncode == 0


def spoil_weights(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def spoil_description(change):
    def spoil(path):
        description = json.loads(path.with_suffix('.json').read_text())
        change(description)
        path.with_suffix('.json').write_text(json.dumps(description))
    return spoil


def write_no_safetensors(path):
    path.write_bytes(b'\xff' * 40)
    spoil_description(lambda facts: facts.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest()))(path)


@pytest.mark.parametrize(('spoil', 'message'), [
    (spoil_weights, 'damaged, or does not belong to'),
    (lambda path: path.write_bytes(path.read_bytes()[:-4]), 'damaged, or does not belong to'),
    (lambda path: path.with_suffix('.json').unlink(), 'is missing: a model is two files'),
    (lambda path: path.with_suffix('.json').write_text('{'), 'not the description of a model'),
    (lambda path: path.with_suffix('.json').write_text('[' * 100_000), 'not the description of a model'),
    (lambda path: path.with_suffix('.json').write_text('{}'), 'the key "format" must be'),
    (spoil_description(lambda facts: facts.pop('config')), 'the key "config" is missing or no str'),
    (spoil_description(lambda facts: facts.update(classes='a')), 'the key "classes" is missing or no list'),
    (write_no_safetensors, 'not a file of safetensors')])
def test_wrong_files_are_refused(small, spoil, message):
    spoil(small)
    with pytest.raises(WeightsError, match=message):
        load_tensors_only(small)


def test_a_model_needs_config_and_classes(tmp_path):
    with pytest.raises(WeightsError, match='no config or no classes'):
        write_model({'state_dict': {'a': torch.ones(1)}, 'meta': {}}, tmp_path / 'a.safetensors', {})
    assert not list(tmp_path.iterdir())


def test_its_record_is_that_of_the_training(tmp_path):
    meta = {'cfg': 'a = 1\n', 'dataset_meta': dict(classes=('a',)), 'mmcell': {'run': 'x'}}
    write_model({'state_dict': {'a': torch.ones(1)}, 'meta': meta}, tmp_path / 'a.safetensors', {})
    assert read_record(tmp_path / 'a.safetensors').content['run'] == 'x'


def test_a_folder_with_one_model_stands_for_it(small):
    assert find_checkpoint(small.parent) == str(small)


def test_models_that_mmcell_brings_are_listed_and_named(small, monkeypatch):
    monkeypatch.setattr(starters, 'FOLDER', small.parent)
    assert find_checkpoint('small') == str(small)
    with pytest.raises(WeightsError, match='the models are small'):
        find_checkpoint('large')
    listed = call('tools/predict.py', '--list-models')
    assert listed.returncode == 0
    assert listed.stdout == 'small finds: a, at 0.25 µm per pixel\n  licence of the weights: CC0\n'


def test_scores_of_a_model_are_explained(monkeypatch):
    monkeypatch.setattr(starters, 'describe_starters', lambda: [
        {'name': 'x', 'classes': ['a'], 'scores': {'own': .25, 'AP50': .5, 'PQ_pooled': .75}}])
    lines = call('tools/predict.py', '--list-models').stdout.splitlines()
    assert [line[:13].strip() for line in lines[2:]] == ['0.750  pa', '0.500  av', '0.250  ow']


def test_the_models_that_mmcell_brings_are_whole_and_small():
    for path in starters.find_starters().values():
        assert path.stat().st_size < 20_000_000
        description = read_model(path)['meta']['description']
        assert {'licence', 'data', 'scope', 'scores'} <= description.keys()
