"""Lets ``mmcv.ops`` use torchvision's kernels where no compiled MMCV is installed.

``mmcv.ops`` imports the compiled module ``mmcv._ext``, which the wheels that install without a compiler do not have.
:func:`provide_mmcv_ops` puts a finder at the *end* of ``sys.meta_path``. A compiled ``mmcv._ext`` is found by Python's
own finders first, and is used. Otherwise this finder answers with a module whose NMS, RoIAlign and deformable
convolutions are torchvision's (on CPU, CUDA and, where torchvision has them, MPS). Every other op of MMCV can be
imported, but raises an error when it is called.
"""

import importlib.machinery
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder

EXT_NAME = 'mmcv._ext'


class _TorchvisionExtFinder(MetaPathFinder, Loader):

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self, origin='torchvision') if fullname == EXT_NAME else None

    def exec_module(self, module: types.ModuleType) -> None:
        from mmcell.framework import torchvision_ext
        vars(module).update({name: value for name, value in vars(torchvision_ext).items() if not name.startswith('_')})
        module.__getattr__ = torchvision_ext.__getattr__


def provide_mmcv_ops() -> None:
    """Makes ``mmcv.ops`` importable without a compiled MMCV. Imports nothing; further calls change nothing."""
    if not any(isinstance(finder, _TorchvisionExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(_TorchvisionExtFinder())
    _repair_early_import()


def _repair_early_import() -> None:
    """Gives ``mmdet.structures.mask`` its ``roi_align``, in whose place it has a stub if imported before mmcell."""
    structures = sys.modules.get('mmdet.structures.mask.structures')
    if structures is not None and structures.roi_align.__module__ == structures.__name__:
        from mmcv.ops.roi_align import roi_align
        structures.roi_align = roi_align
