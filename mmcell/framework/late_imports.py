"""Imports packages that few configs use when they are used, and not whenever the framework is imported.

MMDetection imports imgaug for one transform, pyplot for pictures of tracks and scikit-learn for a head that hardly
anybody trains; torchvision imports torch's compiler for one question. Together this takes longer than MMDetection
itself. :func:`import_late` lets the modules in :data:`LATE_IMPORTS` get stand-ins instead. Modules that only define
registered classes, in :data:`LATE_CLASSES`, are not imported themselves before a config names one of their classes:
the registry gets stand-ins of the classes.

1. While the code of such a module runs, a finder answers for the packages that are listed beside it with modules
   whose attributes are stand-ins. Packages that were imported before are not replaced, and packages that are not
   installed are not found, as without the finder.
2. After the code has run, the stand-ins leave ``sys.modules``, so that all other code imports the packages themselves.
3. A stand-in imports its package when it is called or looked into, and passes everything on to the real object.

If the code of the module needs the real object at once, for example as a base class, the package is imported then.
Only the time of the imports changes, not what is imported.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING

from mmcell.framework.after_import import import_inside, run_after_import

if TYPE_CHECKING:
    from mmengine.registry import Registry

# The packages that each module imports only when it uses them.
LATE_IMPORTS = {
    'mmdet.datasets.transforms.generate_line': ('imgaug', 'scipy.interpolate'),
    'mmdet.datasets.transforms.transforms': ('albumentations', 'imagecorruptions'),
    'mmdet.evaluation.metrics.culane_metric': ('scipy.interpolate', 'scipy.optimize'),
    'mmdet.models.data_preprocessors.reid_data_preprocessor': ('mmpretrain',),
    'mmdet.models.dense_heads.clr_head.clr_head': ('matplotlib',),
    'mmdet.models.dense_heads.clr_head.lane': ('scipy.interpolate',),
    'mmdet.models.dense_heads.paa_head': ('sklearn',),
    'mmdet.models.task_modules.assigners.hungarian_assigner': ('scipy.optimize',),
    'mmdet.models.task_modules.assigners.topk_hungarian_assigner': ('scipy.optimize',),
    'mmdet.models.task_modules.tracking.aflink': ('scipy.optimize',),
    'mmdet.models.task_modules.tracking.interpolation': ('sklearn',),
    'mmdet.models.trackers.sort_tracker': ('scipy.optimize',),
    'mmdet.utils.mot_error_visualize': ('matplotlib',),
    'mmdet.visualization.local_visualizer': ('matplotlib',),
    'torchvision.ops.roi_align': ('torch._dynamo',),
}
# The modules that each module imports only when a registry is asked for one of their classes: the registry, and the
# classes. Those of MMEngine need torch.distributed.fsdp and, with it, SymPy; MMDetection's need MMPretrain.
LATE_CLASSES = {
    'mmdet.models': ('mmdet.models.reid', 'mmdet.registry:MODELS', (
        'BaseReID', 'FcModule', 'GlobalAveragePooling', 'LinearReIDHead')),
    'mmengine._strategy': ('mmengine._strategy.fsdp', 'mmengine.registry:STRATEGIES', ('FSDPStrategy',)),
    'mmengine.model.wrappers': ('mmengine.model.wrappers.fully_sharded_distributed', 'mmengine.registry:MODEL_WRAPPERS',
                                ('MMFullyShardedDataParallel',)),
    'mmengine.optim.optimizer': ('mmengine.optim.optimizer.zero_optimizer', 'mmengine.registry:OPTIMIZERS',
                                 ('ZeroRedundancyOptimizer',)),
}


def import_late() -> None:
    """Makes the listed modules import other modules late. Modules that have been imported stay as they are."""
    run_after_import('mmengine.registry.registry', _find_late_classes)
    for name, packages in LATE_IMPORTS.items():
        import_inside(name, partial(standing_in_for, packages))
    for name, (module, registry, classes) in LATE_CLASSES.items():
        if name not in sys.modules:
            import_inside(name, partial(standing_in_for, (module,), classes))
            run_after_import(name, partial(_register, module, registry, classes))


def register_late(registry: 'Registry', module: str, *names: str) -> None:
    """Registers classes whose module is imported when the registry is asked for one of them, or by other code.

    Args:
        registry: The registry.
        module: Full name of the module that registers the classes.
        names: The names of the classes.
    """
    if module in sys.modules:
        return
    for name in names:
        registry.register_module(name=name, module=_StandIn(_StandInFinder(()), module, name))
    import_inside(module, partial(_taking_places_of, registry, names))


def _register(module: str, registry: str, names: Sequence[str], importer: ModuleType) -> None:
    register_late(resolve_name(registry), module, *names)


@contextmanager
def _taking_places_of(registry: 'Registry', names: Sequence[str]) -> Iterator[None]:
    """Removes the stand-ins of classes from a registry before the block, which registers the classes themselves."""
    for name in names:
        if isinstance(registry.module_dict.get(name), _StandIn):
            del registry.module_dict[name]
    yield


def _find_late_classes(module: ModuleType) -> None:
    """Makes ``Registry.get`` return the class in place of its stand-in."""
    stock_get = module.Registry.get

    def get(self: 'Registry', key: str) -> object:
        found = stock_get(self, key)
        return found.find() if isinstance(found, _StandIn) else found

    get.__doc__ = stock_get.__doc__
    module.Registry.get = get


@contextmanager
def standing_in_for(packages: Sequence[str], public_names: Sequence[str] | None = None) -> Iterator[None]:
    """Lets stand-ins take the places of modules inside the block.

    Args:
        packages: The modules; their submodules get stand-ins, too.
        public_names: What ``from module import *`` imports; None: nothing.
    """
    finder = _StandInFinder(packages, public_names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.withdraw()


class _StandInFinder(MetaPathFinder, Loader):
    """Answers with a stand-in for every module of some packages that are installed and have not been imported."""

    def __init__(self, packages: Sequence[str], public_names: Sequence[str] | None = None) -> None:
        self.packages = packages
        self.public_names = public_names
        self.stand_ins: dict[str, ModuleType] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        package = next((name for name in self.packages if f'{fullname}.'.startswith(f'{name}.')), None)
        if package is None or (fullname != package and package not in self.stand_ins):
            return None
        if fullname == package and not self._is_installed(package):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def _is_installed(self, package: str) -> bool:
        place = sys.meta_path.index(self)
        del sys.meta_path[place]
        try:
            return find_spec(package) is not None
        finally:
            sys.meta_path.insert(place, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandInModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        module.__all__ = list(self.public_names or ())
        self.stand_ins[module.__name__] = module

    def withdraw(self) -> None:
        """Removes the stand-ins from ``sys.modules``, and answers no more. Names that are bound to them stay bound."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name, stand_in in self.stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
            parent, _, child = name.rpartition('.')
            if vars(sys.modules.get(parent, self)).get(child) is stand_in:
                delattr(sys.modules[parent], child)


class _StandInModule(ModuleType):
    """Stands for a module. Its attributes are stand-ins until the finder is withdrawn, then those of the module."""

    def __init__(self, name: str, finder: _StandInFinder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        if self._finder in sys.meta_path:
            return _StandIn(self._finder, self.__name__, name)
        return getattr(import_module(self.__name__), name)


class _StandIn:
    """Stands for a function or class of a module that is imported when the function or class is used."""

    def __init__(self, finder: _StandInFinder, module: str, name: str) -> None:
        self._finder, self._module, self._name = finder, module, name
        self.__name__, self.__module__ = name, module

    def find(self) -> object:
        self._finder.withdraw()
        return getattr(import_module(self._module), self._name)

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.find()(*args, **kwargs)

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.find(), name)

    def __mro_entries__(self, bases: tuple) -> tuple:
        return (self.find(),)

    # As long as nobody has imported the module, there is neither an instance nor a subclass of the class.
    def __instancecheck__(self, instance: object) -> bool:
        return self._module in sys.modules and isinstance(instance, self.find())

    def __subclasscheck__(self, subclass: type) -> bool:
        return self._module in sys.modules and issubclass(subclass, self.find())
