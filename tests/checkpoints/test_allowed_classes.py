"""The classes that are built without trust: enough for every config, and harmless as far as their source can show."""

from pathlib import Path

import mmdet.registry
import mmengine.registry
import mmpretrain.models
import mmpretrain.registry
import pytest
import torch
from mmengine.config import Config
from support.class_audit import audit
from support.configs import EXPERIMENTS, load

from mmcell.checkpoints.allowed_classes import FUNCTIONS, MMPRETRAIN, MODEL_CLASSES, TRANSFORM_CLASSES
from mmcell.checkpoints.config import build_without_trust, read_checkpoint_config

# What a listed class may reach, and why it is harmless.
REASONS = {
    'eval(nms_op)': "nms_op is the value of a key 'type', and these are checked",
    'getattr(ops, layer_type)': "layer_type is the value of a key 'type', and these are checked",
    'build_conv_layer(dict(type=conv_type)': 'looked up in a registry, which refuses names that are not listed',
    'ConfigDict(ffn_cfgs)': 'a dict of the config in another class',
    'fileio.get(filename, ': 'the image that the user names; backend_args is checked',
    'fileio.FileClient.infer_client(self.file_client_args': 'the same, in its older form',
    "get(results['seg_map_path']": 'a path from a data set, which does not exist in a prediction',
    'tifffile.imread(buff)': 'the bytes of the image that the user names',
    'mmcell.images.': 'LoadTiff opens the image that the user names',
}


def registries(kind):
    for package in (mmengine, mmdet, mmpretrain):
        registry = getattr(package.registry, kind)
        registry.import_from_location()
        yield registry


def registered(names, *kinds):
    """Returns every class that has one of the names, in whatever package: (name, class)."""
    return [(name, registry.module_dict[name]) for kind in kinds for registry in registries(kind)
            for name in names if name in registry.module_dict]


def unexplained(cls):
    return [line for line in audit(cls) if not any(reason in line for reason in REASONS)]


def source_of(config):
    return ''.join(f'{key} = {value!r}\n' for key, value in config.to_dict().items())


@pytest.mark.parametrize('names, kinds', [
    (MODEL_CLASSES | MMPRETRAIN, ('MODELS', 'TASK_UTILS')), (TRANSFORM_CLASSES, ('TRANSFORMS',))])
def test_listed_classes_exist_and_evaluate_import_open_or_download_nothing(names, kinds):
    classes = registered(names, *kinds)
    assert {name for name, _ in classes} == names
    assert {name: found for name, cls in classes if (found := unexplained(cls))} == {}


def test_listed_functions_exist_in_mmcv():
    assert all(hasattr(__import__('mmcv.ops').ops, name) for name in FUNCTIONS)


@pytest.mark.parametrize('kind, name, call', [
    ('TASK_UTILS', 'CameraMotionCompensation', 'eval(warp_mode)'),
    ('TASK_UTILS', 'AppearanceFreeLink', 'load_checkpoint'),
    ('MODELS', 'KnowledgeDistillationSingleStageDetector', 'Config.fromfile(teacher_config)'),
    ('MODELS', 'LAD', 'load_checkpoint'),
    ('MODELS', 'BertModel', 'from_pretrained(name'),
    ('MODELS', 'GLIP', 'nltk.download'),
    ('MODELS', 'HuggingFaceClassifier', 'from_pretrained(model_name'),
    ('MODELS', 'VQKD', 'torch.load(codebook_init_path'),
    ('MODELS', 'ArcFaceClsHead', 'list_from_file(margins)'),
    ('MODELS', 'CLIPGenerator', '_load_checkpoint(self.tokenizer_path)'),
    ('MODELS', 'ConvModule', ''),
    ('TRANSFORMS', 'ImageAug', "getattr(iaa, aug['name'])"),
    ('TRANSFORMS', 'Albu', 'getattr(albumentations'),
])
def test_the_audit_sees_what_classes_do(kind, name, call):
    (_, cls), = registered([name], kind)[:1]
    lines = unexplained(cls)
    assert any(call in line for line in lines) if call else not lines


@pytest.mark.slow
def test_no_class_that_the_audit_reports_is_listed():
    reported = {name for kind in ('MODELS', 'TASK_UTILS', 'TRANSFORMS') for registry in registries(kind)
                for name, cls in registry.module_dict.items() if unexplained(cls)}
    assert len(reported) > 20
    assert not reported & (MODEL_CLASSES | MMPRETRAIN | TRANSFORM_CLASSES)


def test_every_config_is_read_without_trust():
    for name in EXPERIMENTS:
        config = load(name)
        assert read_checkpoint_config({'meta': {'cfg': source_of(config)}}).to_dict() == config.to_dict(), name


@pytest.mark.slow
@pytest.mark.parametrize('method', [
    'cascade-mask-rcnn', 'condinst', 'detectors', 'htc', 'mask-rcnn', 'ms-rcnn', 'point-rend', 'queryinst',
    'rtmdet-ins', 'scnet', 'solo', 'yolact'])
def test_mmdetections_instance_segmenters_are_read_without_trust(method):
    paths = sorted((Path(mmdet.__file__).parent / '.mim' / 'configs').glob(f'*/{method}*.py'))
    configs = [Config.fromfile(path) for path in paths if path.parent.name not in ('_base_', 'fpg', 'grid_rcnn')]
    assert configs
    for config in configs:
        if 'test_dataloader' in config:  # a model, and no part of one
            read_checkpoint_config({'meta': {'cfg': source_of(config)}})


@pytest.mark.parametrize('names', [
    ['cell/mask-rcnn_r50_fpn-bn_cbam', 'voc/yolact_r50'],
    pytest.param(EXPERIMENTS, marks=pytest.mark.slow, id='all')])
def test_models_of_configs_are_built_without_trust(names):
    stored = {'state_dict': {str(i): torch.empty(500_000) for i in range(400)}}
    for name in names:
        config = load(name)
        assert type(build_without_trust(config, stored)).__name__ == config.model.type, name
