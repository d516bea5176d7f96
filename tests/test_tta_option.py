"""What tools/test.py --tta makes of a config."""

from importlib.util import module_from_spec, spec_from_file_location

import pytest
from conftest import REPO
from mmengine.config import Config

from mmcell.errors import MmcellError


@pytest.fixture(scope='module')
def use_tta():
    # By its path: Python has a package test of its own.
    spec = spec_from_file_location('test_command', REPO / 'tools' / 'test.py')
    command = module_from_spec(spec)
    spec.loader.exec_module(command)
    return command.use_tta


def test_every_config_has_views_around_its_model(use_tta):
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r50_fpn-bn.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    use_tta(cfg)
    assert cfg.model.type == 'MaskTTAModel' and cfg.model.module.type == 'MaskRCNN'
    assert len(cfg.model.flips) * len(cfg.model.turns) == 8
    assert cfg.test_dataloader.dataset.pipeline == pipeline


def test_views_are_inside_of_tiles(use_tta):
    cfg = Config(dict(model=dict(type='TiledDetector', detector=dict(type='MaskRCNN'), tile_px=512),
                      tta_model=dict(type='MaskTTAModel')))
    use_tta(cfg)
    assert cfg.model.type == 'TiledDetector' and cfg.model.detector.module.type == 'MaskRCNN'
    cfg = Config(dict(model=dict(detector=dict()), tta_model=dict(), tta_pipeline=[]))
    with pytest.raises(MmcellError, match='the model predicts tiles'):
        use_tta(cfg)


def test_a_pipeline_of_the_config_is_taken(use_tta):
    cfg = Config(dict(model=dict(), tta_model=dict(type='MaskTTAModel'), tta_pipeline=[dict(type='TestTimeAug')],
                      test_dataloader=dict(dataset=dict(dataset=dict(pipeline=[])))))
    use_tta(cfg)
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='TestTimeAug')]
    with pytest.raises(MmcellError, match='the config has no tta_model'):
        use_tta(Config(dict(model=dict())))
