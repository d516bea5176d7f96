"""Packages that few configs use are imported when a config uses them, and work then as before."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch
import torchvision
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS, STRATEGIES, TRANSFORMS, Registry
from support.first_imports import LOADED

from mmcell.framework.after_import import import_inside
from mmcell.framework.late_imports import LATE_CLASSES, LATE_IMPORTS, register_late, standing_in_for

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
# A package that few configs use, and a module of a framework that imports it.
PACKAGE = {'rare/__init__.py': 'VALUE = 7', 'rare/parts/__init__.py': 'class Part:\n    kind = "part"'}
IMPORTER = '''
import rare.parts as parts
from rare import VALUE, parts as same
from rare.parts import Part
try:
    import rare_but_not_installed
except ImportError:
    rare_but_not_installed = None
def make():
    return Part()
'''
THING = '''
from importer import REGISTRY
@REGISTRY.register_module()
class Thing:
    pass
'''


@pytest.fixture
def write_modules(tmp_path, monkeypatch):
    """A function that writes modules, which can be imported until the end of the test."""
    before = set(sys.modules)
    finders = list(sys.meta_path)

    def write(texts):
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield write
    sys.meta_path[:] = finders
    for name in set(sys.modules) - before:
        if name.startswith(('rare', 'importer')):
            del sys.modules[name]


def import_importer(write_modules, text=IMPORTER):
    write_modules({**PACKAGE, 'importer.py': text})
    import_inside('importer', lambda: standing_in_for(['rare', 'rare_but_not_installed']))
    return import_module('importer')


def test_a_package_is_imported_when_it_is_used(write_modules):
    importer = import_importer(write_modules)
    assert importer.parts is importer.same and importer.rare_but_not_installed is None
    assert not isinstance(7, importer.Part) and not {'rare', 'rare.parts'} & set(sys.modules)
    part = importer.make()
    assert type(part) is import_module('rare.parts').Part is importer.parts.Part
    assert isinstance(part, importer.Part) and issubclass(type(part), importer.Part) and importer.Part.kind == 'part'


def test_other_code_gets_the_package_itself(write_modules):
    importer = import_importer(write_modules)
    assert import_module('rare').VALUE == 7 and not hasattr(import_module('rare'), 'parts')
    assert importer.make().kind == 'part'


def test_a_package_that_is_needed_at_once_is_imported_at_once(write_modules):
    importer = import_importer(write_modules, f'{IMPORTER}class Own(Part):\n    pass\n')
    assert importer.Own.__bases__ == (import_module('rare.parts').Part,)
    assert importer.Own.kind == importer.make().kind == 'part'


def test_a_package_that_was_imported_before_is_not_replaced(write_modules):
    write_modules(PACKAGE)
    part = import_module('rare.parts').Part
    importer = import_importer(write_modules)
    assert importer.Part is part and importer.VALUE == 7


def test_a_registry_imports_the_module_of_a_class_when_it_is_asked_for_it(write_modules):
    registry = Registry('things', scope='rare')
    write_modules({'rare_thing.py': THING, 'importer.py': 'REGISTRY = None'})
    import_module('importer').REGISTRY = registry
    register_late(registry, 'rare_thing', 'Thing')
    assert 'rare_thing' not in sys.modules and not isinstance(7, registry.module_dict['Thing'])
    thing = registry.build(dict(type='Thing'))
    assert type(thing) is registry.get('Thing') is registry.module_dict['Thing'] is sys.modules['rare_thing'].Thing


def test_a_module_of_a_class_may_also_be_imported_by_other_code(write_modules):
    registry = Registry('things', scope='rare')
    write_modules({'rare_thing.py': THING, 'importer.py': 'REGISTRY = None'})
    import_module('importer').REGISTRY = registry
    register_late(registry, 'rare_thing', 'Thing')
    assert import_module('rare_thing').Thing is registry.get('Thing')


def test_the_framework_is_imported_without_what_few_configs_use():
    # SciPy's matching of points is what the evaluation needs.
    late = {package for packages in LATE_IMPORTS.values() for package in packages} - {'scipy.optimize'}
    late |= {module for module, *_ in LATE_CLASSES.values()}
    # An import of these anywhere would cost a second, unnoticed.
    heavy = {'mmpretrain', 'numba', 'pandas', 'scipy.stats', 'sympy', 'torch.distributed.fsdp', 'wandb'}
    assert sorted(LOADED & (late | heavy)) == []
    assert {*LATE_IMPORTS, *LATE_CLASSES} <= LOADED


@pytest.mark.slow  # two seconds for the import, and no config of the project uses it
def test_a_transform_of_imgaug():
    pipeline = [dict(name='Resize', p=1., parameters=dict(size=dict(height=4, width=4))),
                dict(name='Fliplr', p=1., parameters=dict(p=1.))]
    results = TRANSFORMS.build(dict(type='ImageAug', pipeline=pipeline))(
        dict(img=IMAGE, instances=[dict(line=[(0, 0), (1, 3)])]))
    np.testing.assert_array_equal(results['img'], IMAGE[:, ::-1])
    np.testing.assert_allclose(results['lines'][0], [[4, 0], [3, 3]], atol=.01)


def test_a_class_that_uses_scikit_learn():
    track = np.array([[frame, 0, frame, 0, frame + 9, 9, 1] for frame in (1, 2, 3, 6, 7)], dtype=float)
    smooth = TASK_UTILS.build(dict(type='InterpolateTracklets', use_gsi=True)).forward(track)
    np.testing.assert_allclose(smooth[:, 2], track[:, 2], atol=1)


def test_functions_of_matplotlib():
    from mmdet.utils import mot_error_visualize as pictures
    assert pictures.mcolors.to_rgb('red') == (1, 0, 0) and pictures.Rectangle((0, 0), 1, 2).get_height() == 2


def test_torchvision():
    rois = torch.tensor([[0., 0, 0, 3, 3]])
    assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), rois, 1).item() == 1
    assert torchvision.ops.roi_align.__globals__['is_compile_supported']('cpu')
    assert len(torchvision.models.resnet18().state_dict()) == 122


def test_classes_that_need_mmpretrain():
    from mmdet.models import BaseReID
    head = MODELS.build(dict(type='LinearReIDHead', num_fcs=1, in_channels=4, fc_channels=4, out_channels=4,
                             num_classes=2, loss_cls=dict(type='mmpretrain.CrossEntropyLoss')))
    assert MODELS.get('LinearReIDHead') is type(head) and not isinstance(head, BaseReID)
    backbone = MODELS.build(dict(type='PlainOutputConvNeXt', arch='atto', out_indices=[3]))
    assert isinstance(backbone, MODELS.get('mmpretrain.ConvNeXt'))


@pytest.mark.parametrize('registry, name', [
    (OPTIMIZERS, 'ZeroRedundancyOptimizer'), (STRATEGIES, 'FSDPStrategy'),
    (MODEL_WRAPPERS, 'MMFullyShardedDataParallel')])
def test_classes_for_sharded_trainings(registry, name):
    assert isinstance(registry.get(name), type) and registry.get(name).__name__ == name
    assert not is_model_wrapper(torch.nn.ReLU())
