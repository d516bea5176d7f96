"""The changes that mmcell makes to MMEngine, MMCV and MMDetection.

:func:`prepare` carries out all of them; ``docs/design.md`` lists them with their reasons.
"""

from pkgutil import resolve_name
from types import ModuleType

# The function that changes a module right after its import.
_CHANGES = {'mmdet.registry': 'registration:register_lazily',
            'mmengine.runner.checkpoint': 'safe_loading:replace_loaders',
            'mmdet.apis.det_inferencer': 'inferencer:accept_cells'}


def prepare() -> None:
    """Changes MMEngine, MMCV and MMDetection for the whole process. Further calls change nothing.

    1. ``mmcv.ops`` can be imported without a compiled MMCV (:mod:`mmcell.framework.ops`).
    2. MMDetection's registries import mmcell's modules at their first look-up (:mod:`mmcell.framework.registration`).
    3. MMEngine opens checkpoints without running code from them (:mod:`mmcell.framework.safe_loading`).
    4. MMEngine's registries refuse classes that are not listed, while a model is built from the config of an untrusted
       checkpoint (:mod:`mmcell.framework.limited_build`).
    5. MMDetection's ``DetInferencer`` accepts this project's configs (:mod:`mmcell.framework.inferencer`).
    6. Packages that few configs use are imported when they are used (:mod:`mmcell.framework.late_imports`).

    ``import mmcell`` calls this function. It imports neither torch nor MMEngine, so that ``import mmcell`` is fast:
    changes 2, 3 and 5 are made as soon as other code imports the modules that they concern, and change 4 with the first
    checkpoint.
    """
    from mmcell.framework.after_import import run_after_import
    from mmcell.framework.late_imports import import_late
    from mmcell.framework.ops import provide_mmcv_ops
    provide_mmcv_ops()
    import_late()
    for name in _CHANGES:
        run_after_import(name, _change)


def _change(module: ModuleType) -> None:
    resolve_name(f'mmcell.framework.{_CHANGES[module.__name__]}')(module)
