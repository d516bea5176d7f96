import pytest
import torch
from support.bright_detector import CLASSES, CONFIG, save_checkpoint

from mmcell.checkpoints.config import CheckpointConfigError, read_checkpoint_config
from mmcell.checkpoints.fit import FitError
from mmcell.classes.matching import ClassesError
from mmcell.framework.safe_loading import UntrustedCheckpointError, load_tensors_only
from mmcell.inference.detector import DetectorError, load_detector
from mmcell.inference.predictor import Predictor


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / 'toy.pth')


def test_the_config_inside_the_checkpoint_is_used(checkpoint):
    detector = load_detector(checkpoint)
    assert type(detector).__name__ == 'BrightCellDetector' and not detector.training
    assert detector.dataset_meta == {'classes': CLASSES, 'channel_order': 'rgb', 'mpp': None}


def test_weights_are_loaded(tmp_path):
    path = save_checkpoint(tmp_path / 'toy.pth')
    loaded = torch.load(path)
    # Distributed training puts 'module.' before the names of weights.
    loaded['state_dict'] = {'module.threshold': torch.tensor(220.)}
    torch.save(loaded, path)
    assert load_detector(path).threshold.item() == 220


def test_a_config_file_is_used_if_the_checkpoint_has_no_config(tmp_path, checkpoint):
    config = read_checkpoint_config(load_tensors_only(checkpoint))
    bare = save_checkpoint(tmp_path / 'bare.pth', meta={})
    with pytest.raises(CheckpointConfigError, match='no config inside: name it with --config'):
        load_detector(bare)
    config.dump(tmp_path / 'config.py')
    with pytest.raises(DetectorError, match='names the classes'):
        load_detector(bare, tmp_path / 'config.py')
    options = {'test_dataloader.dataset.metainfo': dict(classes=['x', 'y', 'z']),
               'test_dataloader.dataset.channel_order': 'bgr'}
    detector = load_detector(bare, tmp_path / 'config.py', cfg_options=options)
    assert detector.dataset_meta == {'classes': ('x', 'y', 'z'), 'channel_order': 'bgr', 'mpp': None}


def test_the_classes_of_the_checkpoint_count_and_the_config_must_have_the_same(checkpoint):
    def load(names):
        return load_detector(checkpoint, cfg_options={'test_dataloader.dataset.metainfo': dict(classes=names)})
    assert load(CLASSES[::-1]).dataset_meta['classes'] == CLASSES
    with pytest.raises(ClassesError, match="only in test_dataloader.dataset.metainfo: 'cyan'"):
        load(['red', 'green', 'cyan'])


@pytest.mark.parametrize('orders, expected', [(('bgr', 'bgr'), 'bgr'), (('bgr', 'rgb'), 'rgb')])
@pytest.mark.parametrize('mpps, mpp', [((.25, .252), .251), ((.25, .5), None), ((.25, None), None)])
def test_a_model_of_joined_data_sets_is_loaded(tmp_path, checkpoint, orders, expected, mpps, mpp):
    loaded = torch.load(checkpoint)
    loaded['meta']['dataset_meta'] = [dict(classes=CLASSES, channel_order=order, mpp=scale)
                                      for order, scale in zip(orders, mpps, strict=True)]
    torch.save(loaded, tmp_path / 'joined.pth')
    expected = {'classes': CLASSES, 'channel_order': expected, 'mpp': mpp and pytest.approx(mpp)}
    assert load_detector(tmp_path / 'joined.pth').dataset_meta == expected


def test_the_pipeline_of_joined_test_data_is_that_of_the_first(tmp_path):
    dataset = CONFIG['test_dataloader']['dataset']
    joined = dict(type='ConcatDataset', datasets=[
        dict(type='RepeatDataset', times=2, dataset=dict(dataset, pipeline=[
            dict(type='LoadTiff', percentiles=(1, 99)), *dataset['pipeline'][1:]])), dataset])
    path = save_checkpoint(tmp_path / 'joined.pth', test_dataloader=dict(dataset=joined))
    assert tuple(Predictor(load_detector(path)).percentiles) == (1, 99)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, checkpoint):
    torch.save({**torch.load(checkpoint), 'state_dict': {'threshold': torch.zeros(3)}}, tmp_path / 'other.pth')
    with pytest.raises(FitError, match=r'threshold \(3,\), model \(\)'):
        load_detector(tmp_path / 'other.pth')


def test_code_in_a_checkpoint_is_not_run(tmp_path, checkpoint):
    torch.save({**torch.load(checkpoint), 'extra': tmp_path}, tmp_path / 'code.pth')
    with pytest.raises(UntrustedCheckpointError, match='--trust-checkpoint'):
        load_detector(tmp_path / 'code.pth')
