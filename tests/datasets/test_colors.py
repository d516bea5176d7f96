import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import init_default_scope
from support.paths import REPO

from mmcell.datasets.colors import ColorError, describe_swapped_colors, input_order, refuse_swapped_colors

RGB, BGR = dict(mean=[123.675, 116.28, 103.53]), dict(mean=[103.53, 116.28, 123.675])
TIFF, STOCK = dict(type='LoadTiff'), dict(type='LoadImageFromFile')
UNKNOWN = dict(type='LoadMultiChannelImageFromFiles')


def config_of(preprocessor, loader=TIFF, test_loader=None, model=None, **settings):
    def loading(pipeline_loader):
        return dict(dataset=dict(type='CellDataset', pipeline=[pipeline_loader, dict(type='PackCellInputs')]))
    preprocessor = dict(type='DetDataPreprocessor', **preprocessor)
    return Config(dict(
        model=dict(type='MaskRCNN', data_preprocessor=preprocessor, **(model or {})),
        train_dataloader=loading(loader), val_dataloader=None, test_dataloader=loading(test_loader or loader),
        **settings))


@pytest.mark.parametrize('preprocessor, loader', [
    (RGB, TIFF), (RGB | dict(bgr_to_rgb=True), STOCK), (BGR, STOCK), (BGR | dict(rgb_to_bgr=True), TIFF),
    # Without a mean, flags count by their names.
    ({}, TIFF), ({}, STOCK), (dict(bgr_to_rgb=True), STOCK), (dict(rgb_to_bgr=True), TIFF),
    (dict(mean=[0, 0, 0], bgr_to_rgb=True), STOCK), (RGB | dict(to_rgb=True), STOCK),
    (RGB, dict(type='LoadImageFromFile', imdecode_backend='tifffile')),
    (RGB | dict(bgr_to_rgb=True), UNKNOWN), (RGB, UNKNOWN)])
def test_the_right_colours_pass(preprocessor, loader):
    assert describe_swapped_colors(config_of(preprocessor, loader)) is None


@pytest.mark.parametrize('preprocessor, loader, line', [
    (RGB | dict(bgr_to_rgb=True), TIFF, 'model = dict(data_preprocessor=dict(bgr_to_rgb=False))'),
    (RGB | dict(rgb_to_bgr=True), TIFF, 'model = dict(data_preprocessor=dict(rgb_to_bgr=False))'),
    (RGB | dict(to_rgb=True), TIFF, 'model = dict(data_preprocessor=dict(to_rgb=False))'),
    (dict(bgr_to_rgb=True), TIFF, '--cfg-options model.data_preprocessor.bgr_to_rgb=False'),
    (BGR, TIFF, 'model = dict(data_preprocessor=dict(rgb_to_bgr=True))'),
    (RGB, STOCK, "dict(type='LoadTiff') in place of LoadImageFromFile"),
    (RGB, dict(type=LoadImageFromFile), "dict(type='LoadTiff') in place of LoadImageFromFile"),
    (BGR | dict(bgr_to_rgb=True), STOCK, 'model = dict(data_preprocessor=dict(bgr_to_rgb=False))')])
def test_swapped_colours_are_refused_with_the_line_to_write(preprocessor, loader, line):
    with pytest.raises(ColorError) as caught:
        refuse_swapped_colors(config_of(preprocessor, loader))
    assert line in str(caught.value) and '\n' not in str(caught.value)


def test_the_line_to_write_repairs_the_config():
    for preprocessor, loader in ((RGB | dict(bgr_to_rgb=True), TIFF), (BGR, TIFF), (RGB | dict(rgb_to_bgr=True), TIFF)):
        config = config_of(preprocessor, loader)
        line = describe_swapped_colors(config).partition('model = ')[2].partition(' in the config')[0]
        config.merge_from_dict(dict(model=eval(line)))
        assert describe_swapped_colors(config) is None


def test_every_pipeline_must_load_in_one_order():
    assert "test_dataloader.dataset.pipeline: LoadImageFromFile, blue" in describe_swapped_colors(
        config_of(RGB, TIFF, test_loader=STOCK))
    views = [STOCK, dict(type='TestTimeAug', transforms=[[dict(type='PackDetInputs')]])]
    assert 'tta_pipeline: LoadImageFromFile' in describe_swapped_colors(config_of(RGB, TIFF, tta_pipeline=views))


@pytest.mark.parametrize('wrap', [
    lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
    lambda dataset: dict(type='CellMixDataset', dataset=dataset, pipeline=[dict(type='CellMosaic')]),
    lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset])])
def test_pipelines_inside_wrappers_are_found(wrap):
    config = config_of(RGB, STOCK)
    config.train_dataloader.dataset = wrap(config.train_dataloader.dataset)
    config.test_dataloader = None
    assert 'in train_dataloader.dataset.dataset' in describe_swapped_colors(config)


@pytest.mark.parametrize('wrap, key', [
    (lambda model: dict(type='TiledDetector', detector=model), 'model.detector.data_preprocessor'),
    (lambda model: dict(type='MaskTTAModel', module=model), 'model.module.data_preprocessor')])
def test_models_inside_wrappers_are_found(wrap, key):
    config = config_of(RGB | dict(bgr_to_rgb=True))
    config.model = wrap(config.model)
    assert f'--cfg-options {key}.bgr_to_rgb=False' in describe_swapped_colors(config)


def test_weights_of_caffe2_need_the_mean_with_blue_first():
    weights = dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet50_caffe')
    backbone = dict(backbone=dict(init_cfg=weights))
    assert 'weights of the backbone expect blue' in describe_swapped_colors(config_of(RGB, model=backbone))
    assert describe_swapped_colors(config_of(BGR | dict(rgb_to_bgr=True), model=backbone)) is None
    assert describe_swapped_colors(config_of(RGB, model=backbone, load_from='whole_model.pth')) is None


def test_a_base_of_mmdetection_with_our_data_is_refused(tmp_path):
    bases = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', f'{REPO}/configs/_base_/cells.py',
             f'{REPO}/configs/_base_/schedule_30e.py', f'{REPO}/configs/_base_/runtime.py']
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {bases}\n')
    assert 'bgr_to_rgb=True reverses this' in describe_swapped_colors(Config.fromfile(path))
    path.write_text(f'_base_ = {bases}\nmodel = dict(data_preprocessor=dict(bgr_to_rgb=False))\n')
    assert describe_swapped_colors(Config.fromfile(path)) is None


@pytest.mark.parametrize('preprocessor, loader, order', [
    (RGB | dict(bgr_to_rgb=True), TIFF, 'rgb'), (RGB | dict(bgr_to_rgb=True), STOCK, 'bgr'),
    # The order of an unknown loader follows from what the model needs.
    (RGB | dict(bgr_to_rgb=True), UNKNOWN, 'bgr'), (RGB, UNKNOWN, 'rgb'), (BGR, UNKNOWN, 'bgr'),
    (BGR | dict(rgb_to_bgr=True), UNKNOWN, 'rgb'), ({}, UNKNOWN, 'bgr'), (dict(bgr_to_rgb=True), UNKNOWN, 'bgr'),
    (dict(rgb_to_bgr=True), UNKNOWN, 'rgb')])
def test_the_order_of_the_arrays_for_a_model(preprocessor, loader, order):
    init_default_scope('mmdet')
    assert input_order(config_of(preprocessor, loader)) == order
