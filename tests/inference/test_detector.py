import numpy as np
import pytest
import torch
from support.bright_detector import CLASSES, save_checkpoint
from support.configs import EXPERIMENTS, load

from mmcell.checkpoints.config import CheckpointConfigError, read_checkpoint_config
from mmcell.checkpoints.fit import FitError
from mmcell.framework.safe_loading import UntrustedCheckpointError, load_tensors_only
from mmcell.inference.detector import DetectorError, ImagePredictor, load_detector


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / 'toy.pth')


def image_with(*squares):
    """Returns a black image (30, 40, 3) uint8 with one square in one channel for each (channel, y, x, side, value)."""
    image = np.zeros((30, 40, 3), np.uint8)
    for channel, y, x, side, value in squares:
        image[y:y + side, x:x + side, channel] = value
    return image


def test_the_config_inside_the_checkpoint_is_used(checkpoint):
    detector = load_detector(checkpoint)
    assert type(detector).__name__ == 'BrightCellDetector' and not detector.training
    assert detector.dataset_meta == {'classes': CLASSES, 'channel_order': 'rgb'}
    predictor = ImagePredictor(detector)
    assert predictor.percentiles is None
    instances = predictor(image_with((0, 5, 5, 4, 204), (2, 20, 30, 6, 255)))
    assert instances.labels.tolist() == [0, 2] and instances.scores.tolist() == pytest.approx([.8, 1])
    assert instances.bboxes.tolist() == [[5, 5, 9, 9], [30, 20, 36, 26]]
    assert instances.masks[0]['size'] == [30, 40]


def test_weights_are_loaded(tmp_path):
    path = save_checkpoint(tmp_path / 'toy.pth')
    loaded = torch.load(path)
    # Distributed training puts 'module.' before the names of weights.
    loaded['state_dict'] = {'module.threshold': torch.tensor(220.)}
    torch.save(loaded, path)
    instances = ImagePredictor(load_detector(path))(image_with((0, 5, 5, 4, 204), (2, 20, 30, 6, 255)))
    assert instances.labels.tolist() == [2]


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
    assert detector.dataset_meta == {'classes': ('x', 'y', 'z'), 'channel_order': 'bgr'}


def test_a_checkpoint_of_another_model_is_refused(tmp_path, checkpoint):
    torch.save({**torch.load(checkpoint), 'state_dict': {'threshold': torch.zeros(3)}}, tmp_path / 'other.pth')
    with pytest.raises(FitError, match=r'threshold \(3,\), model \(\)'):
        load_detector(tmp_path / 'other.pth')


def test_code_in_a_checkpoint_is_not_run(tmp_path, checkpoint):
    torch.save({**torch.load(checkpoint), 'extra': tmp_path}, tmp_path / 'code.pth')
    with pytest.raises(UntrustedCheckpointError, match='--trust-checkpoint'):
        load_detector(tmp_path / 'code.pth')


@pytest.mark.parametrize('text, message', [
    ('import os', 'line 1 is not an assignment'),
    ('model = dict(type="A")\ntest_dataloader = open("x", "w")', r"line 2 holds open\('x', 'w'\)"),
    ('model = [x for x in ()]', 'line 1 holds'),
    ('model = dict(**{})', 'line 1 holds'),
    ('model = (', 'was never closed'),
    ('model = dict(type="A")', 'has no model or no test_dataloader'),
    ('model = dict(type="os.system", command="x")\ntest_dataloader = dict()', 'names os.system, which does not belong'),
    ('model = dict(type="A", neck=[dict(type="mmengine.rmtree")])\ntest_dataloader = dict()', 'names mmengine.rmtree'),
    ('model = dict(type="mmdet.apis.x")\ntest_dataloader = dict()', 'names mmdet.apis.x'),
    ('model = dict(type="A")\ntest_dataloader = dict()\ncustom_imports = dict(imports=["this"])', 'names this, which'),
    ('model = dict(type="A")\ntest_dataloader = dict(dataset=dict(pipeline=(dict(type="a.b.c"),)))', 'names a.b.c'),
])
def test_a_config_inside_that_would_run_code_is_refused(text, message):
    with pytest.raises(CheckpointConfigError, match=message):
        read_checkpoint_config(dict(meta=dict(cfg=text)))


def test_a_trusted_config_may_name_any_module():
    text = 'model = dict(type="torch.nn.Identity")\ntest_dataloader = dict()\ncustom_imports = dict(imports=["json"])'
    assert read_checkpoint_config(dict(meta=dict(cfg=text)), trusted=True).model.type == 'torch.nn.Identity'


def test_plain_values_of_a_config_inside_a_checkpoint_are_read():
    text = ('model = dict(type="mmdet.A", a=[1, -2.5], b=(None, True), c={"d e": {1, 2}}, f=inf, '
            'g=dict(type="mmpretrain.B"))\ntest_dataloader = dict()')
    model = read_checkpoint_config(dict(meta=dict(cfg=text))).model
    assert model.a == [1, -2.5] and model.b == (None, True) and model.c == {'d e': {1, 2}} and model.f == float('inf')


@pytest.mark.parametrize('loader, expected', [
    (dict(type='LoadTiff', percentiles=(1, 99.8)), 0), (dict(type='LoadImageFromFile'), 2)])
def test_models_get_colours_in_the_channel_order_of_their_own_loader(tmp_path, loader, expected):
    pipeline = [loader, dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))]
    detector = load_detector(save_checkpoint(
        tmp_path / 'toy.pth', test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline))))
    predictor = ImagePredictor(detector)
    assert predictor.percentiles == loader.get('percentiles')
    assert predictor(image_with((0, 5, 5, 4, 255))).labels.tolist() == [expected]


def test_a_pipeline_without_a_loader_is_refused(tmp_path):
    settings = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(5, 5))]))
    with pytest.raises(DetectorError, match='begins with Resize'):
        ImagePredictor(load_detector(save_checkpoint(tmp_path / 'toy.pth', test_dataloader=settings)))


def test_an_image_of_one_pixel_is_predicted(checkpoint):
    assert len(ImagePredictor(load_detector(checkpoint))(np.full((1, 1, 3), 255, np.uint8))) == 1


def test_configs_are_unchanged_after_they_were_saved_in_a_checkpoint():
    for name in EXPERIMENTS[::16]:
        config = load(name)
        read = read_checkpoint_config(dict(meta=dict(cfg=config.pretty_text)))
        assert read.to_dict() == config.to_dict()
