"""Tells MMDetection's registries in which modules mmcell's classes are."""

import types
from importlib import import_module

_LOCATIONS = {
    'DATASETS': 'mmcell.datasets',
    'DATA_SAMPLERS': 'mmcell.datasets',
    'TRANSFORMS': 'mmcell.datasets',
    'METRICS': 'mmcell.evaluation.registered',
    'MODELS': 'mmcell.models',
    'TASK_UTILS': 'mmcell.models',
    'HOOKS': 'mmcell.hooks',
    'OPTIM_WRAPPERS': 'mmcell.framework.mixed_precision',
    'PARAM_SCHEDULERS': 'mmcell.framework.schedules',
    'VISUALIZERS': 'mmcell.visualization.visualizer',
}


def register_lazily(registries: types.ModuleType) -> None:
    """Adds mmcell's modules to the modules that each registry imports at its first look-up.

    If the first look-up of a registry is already over, its module is imported at once, because the registry would not
    import it any more. MMEngine offers no method for this: the modules are an argument of ``Registry``, which keeps
    them in ``_locations``.

    Args:
        registries: The module ``mmdet.registry``.
    """
    for name, location in _LOCATIONS.items():
        registry = getattr(registries, name)
        if location not in registry._locations:
            registry._locations.append(location)
            if registry._imported:
                import_module(location)
