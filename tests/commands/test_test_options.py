"""How the arguments of tools/test.py for views and tiles change a config."""

from argparse import ArgumentParser

import pytest
from _options import add_tile_arguments, tile_settings
from mmengine.config import Config
from support.commands import load_command
from support.paths import REPO

from mmcell.errors import MmcellError


@pytest.fixture(scope='module')
def command_module():
    return load_command('tools/test.py')


@pytest.fixture
def use_tta(command_module):
    return command_module.use_tta


def parse(*arguments):
    parser = ArgumentParser()
    add_tile_arguments(parser, 'none')
    return parser.parse_args(list(map(str, arguments)))


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


@pytest.mark.parametrize('model', [dict(type='MaskRCNN'),
                                   dict(type='TiledDetector', detector=dict(type='MaskRCNN'), tile_px=512, upscale=2)])
def test_tiles_of_the_command_line(command_module, use_tta, model):
    cfg = Config(dict(model=model, tta_model=dict(type='MaskTTAModel')))
    command_module.use_tiles(cfg, tile_settings(parse('--tile', 256, '--overlap', 64)))
    assert cfg.model == dict(type='TiledDetector', detector=dict(type='MaskRCNN'), tile_px=256, overlap_px=64)
    use_tta(cfg)
    assert cfg.model.detector == dict(type='MaskTTAModel', module=dict(type='MaskRCNN'))


def test_settings_of_tiles():
    assert tile_settings(parse()) is None
    assert tile_settings(parse(), 1024) == dict(tile_px=1024)
    assert tile_settings(parse('--overlap', 64), 1024) == dict(tile_px=1024, overlap_px=64)
    assert tile_settings(parse('--tile', 96, '--overlap', 8, '--tile-batch', 2, '--upscale', 1.5)) == dict(
        tile_px=96, overlap_px=8, batch_size=2, upscale=1.5)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--overlap', 64], 'give --tile'), (['--tile-batch', 2], 'give --tile'), (['--upscale', 2], 'give --tile'),
    (['--tile', 128], 'overlap'), (['--tile', 0], 'tile'), (['--tile', 256, '--upscale', 0], 'upscale')])
def test_tiles_that_cannot_be(arguments, message):
    with pytest.raises(MmcellError, match=message):
        tile_settings(parse(*arguments))
