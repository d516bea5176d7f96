"""The config inside a checkpoint of unknown origin: nothing is run, imported, opened, downloaded or filled with it."""

import sys
import time
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from support.paths import REPO
from torch import nn

from mmcell.checkpoints.config import CheckpointConfigError, build_without_trust, read_checkpoint_config
from mmcell.inference.detector import DetectorError, load_detector
from mmcell.inference.predictor import Predictor

PIPELINE = [dict(type='LoadTiff'), dict(type='PackCellInputs', meta_keys=('img_id', 'ori_shape', 'img_shape'))]
DEMO = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py').to_dict()
WAYS_OUT = r'--trust-checkpoint \(trusted=True in Python\).*--config'


def source_of(settings):
    return ''.join(f'{key} = {value!r}\n' for key, value in settings.items())


def read(**settings):
    settings = dict(model=dict(type='ResNet', depth=18), test_dataloader=dict(dataset=dict(pipeline=PIPELINE)),
                    **settings)
    return read_checkpoint_config({'meta': {'cfg': source_of(settings)}})


def build(model, stored=1000):
    """Builds a model as if the checkpoint held this many numbers in 100 tensors."""
    config = read_checkpoint_config({'meta': {'cfg': source_of(dict(model=model, test_dataloader=dict()))}})
    return build_without_trust(config, {'state_dict': {str(i): torch.empty(stored // 100) for i in range(100)}})


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a file behind when it is imported, and a function of it that does the same."""
    text = f"open({str(tmp_path / 'sprung')!r}, 'w').close()\ndef spring(*args, **kwargs):\n    "
    (tmp_path / 'trap_module.py').write_text(text + text.splitlines()[0] + '\n')
    (tmp_path / 'teacher.py').write_text('import trap_module\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop('trap_module', None)
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('text, message', [
    ('import os', 'line 1 is not an assignment'),
    ('model = dict(type="A")\ntest_dataloader = open("x", "w")', r"line 2 holds open\('x', 'w'\)"),
    ('model = [x for x in ()]', 'line 1 holds'),
    ('model = dict(**{})', 'line 1 holds'),
    ('model = (', 'was never closed'),
    ('model = dict(type="A")', 'has no model or no test_dataloader'),
    ('model = 3\ntest_dataloader = dict()', 'has no model or no test_dataloader'),
    ('model = f"{1}"', 'line 1 holds'),
    ('model.type = "A"', 'line 1 is not an assignment'),
    ('model: dict = dict()', 'line 1 is not an assignment'),
    ('model = ' + '[' * 5000 + ']' * 5000, 'more than plain settings'),
    ('model = ' + '-' * 50000 + '1', 'more than plain settings'),
    ('model = ' + 'dict(a=' * 150 + '1' + ')' * 150 + '\ntest_dataloader = dict()', 'nested more than 50 deep'),
    ('a = 1\n' * 200_000, 'of which at most'),
    ('model = {[]: 1}', 'more than plain settings'),
    ('model = 1\0', 'more than plain settings'),
    ('model = dict()\ntest_dataloader = dict()\nfilename = 1', 'cannot be used'),
])
def test_only_plain_settings_are_read(text, message):
    with pytest.raises(CheckpointConfigError, match=message) as error:
        read_checkpoint_config({'meta': {'cfg': text}})
    assert '\n' not in str(error.value)


def test_plain_values_are_read_as_they_are():
    text = ('model = dict(type="mmdet.ResNet", a=[1, -2.5], b=(None, True), c={"d e": {1, 2}}, f=inf, '
            'g=dict(type="mmpretrain.ConvNeXt", _scope_="mmdet"), h=1e8)\ntest_dataloader = dict()')
    model = read_checkpoint_config({'meta': {'cfg': text}}).model
    assert model.a == [1, -2.5] and model.b == (None, True) and model.c == {'d e': {1, 2}} and model.f == float('inf')


def test_a_dumped_config_is_read_as_it_was():
    config = Config(DEMO)
    assert read_checkpoint_config({'meta': {'cfg': config.pretty_text}}).to_dict() == config.to_dict()


@pytest.mark.parametrize('name', [
    'os.system', 'trap_module.spring', 'torch.hub.load', 'mmdet.apis.init_detector', 'mmengine.Config.fromfile',
    'CameraMotionCompensation', 'KnowledgeDistillationSingleStageDetector', 'LAD', 'SoftTeacher', 'BertModel',
    'mmpretrain.HuggingFaceClassifier', 'mmpretrain.TIMMBackbone', 'mmpretrain.models.ConvNeXt', 'mmcls.ConvNeXt',
    'mmengine.BN', 'mmdet.mmdet.ResNet', 'ResNet ', ' ResNet', '', 'Re\u0455Net', '\uff32esNet', 'resnet', 'eval',
    'exec', 'builtins.eval', '__import__', None, 3, 1.5, True, b'ResNet', ('ResNet',), ['ResNet'], dict(type='ResNet'),
    {'ResNet'}])
@pytest.mark.parametrize('place', [
    lambda kind: dict(type=kind),
    lambda kind: dict(type='MaskRCNN', backbone=dict(type='ResNet', depth=18, plugins=[dict(cfg=dict(type=kind))])),
    lambda kind: dict(type='MaskRCNN', roi_head=dict(bbox_head=[(dict(loss_cls=dict(type=kind)),)])),
    lambda kind: dict(type='MaskRCNN', data_preprocessor=dict(batch_augments=[dict(type=kind, size=1)])),
    lambda kind: dict(type='MaskRCNN', test_cfg=dict(rcnn=dict(nms=dict(type=kind)))),
    lambda kind: dict(type='TiledDetector', detector=dict(type='MaskRCNN', norm_cfg=dict(type=kind))),
], ids=['model', 'plugins', 'tuple in list', 'batch_augments', 'nms', 'tiles'])
def test_a_type_that_is_not_listed_is_refused_wherever_it_stands(trap, name, place):
    settings = dict(model=place(name), test_dataloader=dict())
    with pytest.raises(CheckpointConfigError, match=r'model\S*type: .*' + WAYS_OUT) as error:
        read_checkpoint_config({'meta': {'cfg': source_of(settings)}})
    assert str(name)[:10] in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('settings, message', [
    (dict(default_scope='mmpretrain'), 'default_scope: mmpretrain'),
    (dict(default_scope='trap_module'), 'default_scope: trap_module'),
    (dict(default_scope=['mmdet']), 'default_scope'),
    (dict(custom_imports=dict(imports=['trap_module'])), 'custom_imports: trap_module'),
    (dict(custom_imports=dict(imports='trap_module')), 'custom_imports: trap_module'),
    (dict(custom_imports=dict(imports=('mmcell', 'trap_module'))), 'custom_imports: trap_module'),
    (dict(custom_imports=dict(imports=[['trap_module']])), 'custom_imports'),
    (dict(tta_model=dict(type='trap_module.spring')), 'tta_model.type: trap_module.spring'),
    (dict(tta_pipeline=[dict(type='TestTimeAug', transforms=[[dict(type='trap_module.spring')]])]),
     r'tta_pipeline\[0\].transforms\[0\]\[0\].type: trap_module'),
])
def test_other_scopes_modules_and_views_are_refused(trap, settings, message):
    with pytest.raises(CheckpointConfigError, match=message):
        read(**settings)


@pytest.mark.parametrize('model, message', [
    (dict(type='ResNet', _scope_='trap_module'), 'model._scope_: trap_module'),
    (dict(type='ResNet', _scope_='mmpretrain'), 'model._scope_: mmpretrain'),
    (dict(type='ResNet', _delete_=True), 'model._delete_: not the name'),
    (dict(type='ResNet', norm_cfg={'__class__': 'x'}), 'model.norm_cfg.__class__: not the name'),
    (dict(type='ResNet', norm_cfg={3: 'x'}), 'model.norm_cfg.3: not the name'),
    (dict(type='ResNet', depth=10**12), 'model.depth: a number beyond 100000'),
    (dict(type='ResNet', depth=-10**12), 'model.depth: a number beyond'),
    (dict(type='ResNet', depth=[1, 1e300]), r'model.depth\[1\]: a number beyond'),
    (dict(type='ResNet', depth=1j), 'model.depth: a complex'),
    (dict(type='DetDataPreprocessor', pad_size_divisor=90_000), 'model.pad_size_divisor: a number beyond 16384'),
    (dict(type='ResNet', depth=b'x'), 'model.depth: a bytes'),
])
def test_other_keys_and_values_are_refused(trap, model, message):
    with pytest.raises(CheckpointConfigError, match=message):
        read_checkpoint_config({'meta': {'cfg': source_of(dict(model=model, test_dataloader=dict()))}})


@pytest.mark.parametrize('transform, message', [
    (dict(type='Albu', transforms=[]), 'type: Albu'),
    (dict(type='CameraMotionCompensation', warp_mode='print'), 'type: CameraMotionCompensation'),
    (dict(type='MaskRCNN'), 'type: MaskRCNN'),
    (dict(type='LoadImageFromFile', backend_args=dict(backend='petrel')), 'backend_args: '),
    (dict(type='LoadImageFromFile', file_client_args=dict(backend='http')), 'file_client_args: '),
    (dict(type='Resize', scale=(10**9, 10**9)), 'scale.0.: a number'),
    (dict(type='Resize', scale=(1333, 16_385)), 'scale.1.: a number beyond 16384'),
    (dict(type='Resize', scale_factor=(2., 16.5)), 'scale_factor.1.: a number beyond 16'),
    (dict(type='Pad', size_divisor=90_000), 'size_divisor: a number beyond 16384'),
])
def test_transforms_that_are_not_listed_are_refused(transform, message):
    settings = dict(model=dict(type='ResNet'), test_dataloader=dict(dataset=dict(pipeline=[transform])))
    with pytest.raises(CheckpointConfigError, match=rf'test_dataloader.dataset.pipeline\[0\].*{message}'):
        read_checkpoint_config({'meta': {'cfg': source_of(settings)}})
    inner = settings['test_dataloader']['dataset']
    settings['test_dataloader']['dataset'] = dict(type='ConcatDataset', datasets=[dict(dataset=inner)])
    with pytest.raises(CheckpointConfigError, match=rf'dataset.datasets.0.dataset.pipeline\[0\].*{message}'):
        read_checkpoint_config({'meta': {'cfg': source_of(settings)}})


@pytest.mark.parametrize('model', [
    dict(type='mmpretrain.SwinTransformer', patch_cfg=dict(conv_type='trap_module.spring')),
    dict(type='mmpretrain.SwinTransformer', patch_cfg=dict(conv_type='CameraMotionCompensation')),
    dict(type='ConvModule', in_channels=1, out_channels=1, kernel_size=1, padding_mode='trap_module.spring'),
    dict(type='ConvModule', in_channels=1, out_channels=1, kernel_size=1, padding_mode='BertModel')])
def test_a_name_in_another_argument_than_type_is_not_looked_up(trap, model):
    with pytest.raises(CheckpointConfigError, match='is not on the list of classes.*' + WAYS_OUT):
        build(model, 10**9)


@pytest.mark.parametrize('source', ['/etc/passwd', 'https://localhost:9/w.pth', 'open-mmlab://resnet', 'trap.pth'])
@pytest.mark.parametrize('setting', [
    lambda source: dict(init_cfg=dict(type='Pretrained', checkpoint=source)),
    lambda source: dict(init_cfg=[dict(type='trap_module.spring'), dict(type='Pretrained', checkpoint=source)]),
    lambda source: dict(pretrained=source)])
def test_weights_that_a_config_names_are_never_opened(trap, monkeypatch, source, setting):
    from mmengine.runner.checkpoint import CheckpointLoader
    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', lambda *args, **kwargs: pytest.fail('opened'))
    model = build(dict(type='ResNet', depth=18, **setting(source)), 10**8)
    model.init_weights()


def test_nothing_is_opened_for_a_config_that_names_another_config(trap):
    model = dict(type='KnowledgeDistillationSingleStageDetector', teacher_config=str(trap / 'teacher.py'))
    with pytest.raises(CheckpointConfigError, match='model.type: KnowledgeDistillation'):
        build(model)


CONV = dict(type='ConvModule', in_channels=8, out_channels=8, kernel_size=1)
ANCHORS = dict(type='AnchorGenerator', strides=[4], ratios=[1.], scales=[8])
SWIN = dict(type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))


@pytest.mark.parametrize('model', [
    {**CONV, 'in_channels': 100_000, 'out_channels': 100_000},
    {**CONV, 'kernel_size': 30_000},
    dict(type='Linear', in_features=90_000, out_features=90_000),
    dict(type='FPN', in_channels=[8] * 4, out_channels=8, num_outs=100_000, add_extra_convs=True),
    dict(type='ConvFCBBoxHead', num_shared_convs=90_000, conv_out_channels=8, in_channels=8, roi_feat_size=1),
    dict(type='FCNMaskHead', num_convs=100_000, in_channels=8, conv_out_channels=8),
    dict(type='CSPNeXt', widen_factor=1e8),
    dict(type='CSPNeXt', deepen_factor=1e8, widen_factor=.01),
    dict(type='HRNet', extra=dict(stage1=dict(num_modules=1, num_branches=1, block='BASIC', num_blocks=(100_000,),
                                              num_channels=(8,)))),
    {**SWIN, 'window_size': 400},
    {**SWIN, 'window_size': 100_000},
    {**SWIN, 'depths': (100_000, 1, 1, 1)},
    {**ANCHORS, 'scales': None, 'octave_base_scale': 4, 'scales_per_octave': 100_000, 'ratios': [1.] * 2000},
    {**ANCHORS, 'scales': [1.] * 20_000, 'ratios': [1.] * 20_000},
    dict(type='LearnedPositionalEncoding', num_feats=100_000, row_num_embed=100_000),
    dict(type='BN', num_features=-1),
    {**CONV, 'in_channels': -8},
    {**CONV, 'in_channels': 0, 'groups': 0},
    {**CONV, 'in_channels': float('nan')},
    {**CONV, 'kernel_size': 'large'},
    {**CONV, 'unheard_of': 1},
    dict(type='ResNet', depth=19),
    dict(type='MaskRCNN'),
    dict(type='nms'),
    dict(),
], ids=lambda model: f"{model.get('type')}-{list(model)[-1] if model else ''}")
def test_a_model_that_cannot_be_built_or_needs_more_than_the_file_holds_ends_at_once(model):
    if model.get('type') == 'AnchorGenerator':
        model = dict(type='RPNHead', num_classes=1, in_channels=8, feat_channels=8, anchor_generator=model)
    start = time.process_time()
    with pytest.raises(CheckpointConfigError, match=WAYS_OUT) as error:
        build(model)
    assert time.process_time() - start < 20
    assert '\n' not in str(error.value) and len(str(error.value)) < 600


def test_weights_that_share_memory_count_once():
    state = {f'{i}': torch.zeros(1).expand(10**12) for i in range(3)}
    config = Config(dict(model=dict(type='Linear', in_features=30_000, out_features=30_000)))
    with pytest.raises(CheckpointConfigError, match='more weights or layers than the checkpoint'):
        build_without_trust(config, {'state_dict': state})


def save(path, **settings):
    """Saves a checkpoint of an untrained demo model with these settings in its config, and returns the path."""
    weights = MODELS.build(Config(DEMO).model).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(cfg=source_of({**DEMO, **settings}),
                                                  dataset_meta=dict(classes=('a', 'b', 'c', 'd')))), path)
    return path


class OwnDetector(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n))


def test_a_class_of_ones_own_is_built_on_trust_or_from_ones_own_config(tmp_path):
    MODELS.register_module(module=OwnDetector, force=True)
    settings = dict(model=dict(type='OwnDetector', n=3), test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))
    torch.save(dict(state_dict=dict(weight=torch.ones(3)), meta=dict(
        cfg=source_of(settings), dataset_meta=dict(classes=('a',)))), tmp_path / 'own.pth')
    (tmp_path / 'own.py').write_text(source_of(settings))
    with pytest.raises(CheckpointConfigError, match='model.type: OwnDetector.*' + WAYS_OUT):
        load_detector(tmp_path / 'own.pth')
    for detector in (load_detector(tmp_path / 'own.pth', trusted=True),
                     load_detector(tmp_path / 'own.pth', tmp_path / 'own.py')):
        assert type(detector) is OwnDetector and detector.weight.tolist() == [1, 1, 1]


def test_trust_allows_any_class_and_imports_modules(trap):
    text = source_of(dict(model=dict(type='torch.nn.Identity', size=10**9), test_dataloader={},
                          custom_imports=dict(imports=['trap_module'])))
    assert read_checkpoint_config({'meta': {'cfg': text}}, trusted=True).model.type == 'torch.nn.Identity'
    assert 'trap_module' in sys.modules
    (Path(trap) / 'sprung').unlink()


@pytest.mark.parametrize('settings, message', [
    (dict(test_dataloader=dict(dataset=[])), 'names the classes|pipeline of the config'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[]))), 'pipeline of the config must be a list'),
    (dict(test_dataloader=dict(dataset=dict(dataset=3, datasets=[4, 'ab']))), 'pipeline of the config must be a list'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[3]))), 'pipeline of the config must be a list'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[PIPELINE[0], dict(type='Resize')]))), 'cannot be built'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[PIPELINE[0], dict(type='Pad', size=1, size_divisor=2)]))),
     'cannot be built'),
    (dict(tta_model=[3]), 'tta_model of the config must be a dict'),
    (dict(tta_model=dict(type='ResNet')), 'tta_model of the config cannot be built'),
    (dict(tta_model=dict(type='MaskTTAModel', unheard_of=1)), 'tta_model of the config cannot be built'),
])
def test_odd_parts_of_a_config_end_in_one_line(tmp_path, settings, message):
    path = save(tmp_path / 'odd.pth', **settings)
    with pytest.raises(DetectorError, match=message) as error:
        Predictor(load_detector(path), with_views=True)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('meta', [None, 3, [], dict(classes='ab'), dict(classes=[1, 2, 3, 4]), {3: 4}])
def test_odd_names_of_classes_end_in_one_line(tmp_path, meta):
    path = save(tmp_path / 'odd.pth')
    loaded = torch.load(path)
    loaded['meta']['dataset_meta'] = meta
    torch.save(loaded, path)
    with pytest.raises(DetectorError, match='names the classes'):
        load_detector(path)
