"""torchvision's kernels behind ``mmcv.ops`` where no compiled mmcv is installed.

``mmcv.ops`` imports the compiled module ``mmcv._ext`` when it is itself imported. The wheels that install
without a compiler do not have it. :func:`provide_mmcv_ops` puts a finder at the *end* of ``sys.meta_path``:
a compiled ``mmcv._ext`` is found by Python's own finders first and is used; otherwise the finder answers with a
module whose NMS, RoIAlign and deformable convolutions are torchvision's (CPU, CUDA and, where torchvision has
them, MPS). Every other op of mmcv is there by name and raises :class:`MissingOpError` when it is called.

The functions below have the signatures with which ``mmcv/ops/*.py`` (mmcv 2.3) calls its extension: outputs are
tensors that the caller has allocated.
"""

import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from typing import NoReturn

EXT_NAME = 'mmcv._ext'


class MissingOpError(RuntimeError):
    """An op of ``mmcv.ops`` was called that torchvision has no kernel for."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f'mmcv op {op!r} needs a compiled mmcv: torchvision, which mmcell uses instead, has no such kernel. '
            'Either choose a module that needs only NMS, RoIAlign (average) or deformable convolution, or build '
            'mmcv with its ops: MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary onedl-mmcv onedl-mmcv '
            '(takes a C++ compiler, and a CUDA toolkit for ops on a GPU).')


class _TorchvisionExtLoader(Loader):

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return types.ModuleType(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        from mmcell import torchvision_ext
        vars(module).update({name: getattr(torchvision_ext, name) for name in torchvision_ext.__all__})
        module.__getattr__ = _missing_op


def _missing_op(name: str) -> Callable:
    """Module-level ``__getattr__``: a stand-in for the op ``name`` that raises when it is called."""
    if name.startswith('__'):
        raise AttributeError(name)

    def raise_missing_op(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOpError(name)

    return raise_missing_op


class _TorchvisionExtFinder(MetaPathFinder):

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXT_NAME:
            return None
        return importlib.machinery.ModuleSpec(fullname, _TorchvisionExtLoader(), origin='torchvision')


def provide_mmcv_ops() -> None:
    """Make ``mmcv.ops`` importable without a compiled mmcv. Idempotent; cheap (imports nothing heavy)."""
    if not any(isinstance(finder, _TorchvisionExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(_TorchvisionExtFinder())
    _repair_early_import()


def _repair_early_import() -> None:
    """``mmdet.structures.mask``, imported before mmcell, has replaced ``roi_align`` by a function that raises."""
    structures = sys.modules.get('mmdet.structures.mask.structures')
    if structures is not None and structures.roi_align.__module__ == structures.__name__:
        from mmcv.ops.roi_align import roi_align
        structures.roi_align = roi_align
