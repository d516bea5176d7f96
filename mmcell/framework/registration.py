"""Tells MMDetection's registries in which modules mmcell's classes are."""

from importlib import import_module

from mmdet import registry

_LOCATIONS = {
    registry.DATASETS: 'mmcell.datasets',
    registry.DATA_SAMPLERS: 'mmcell.datasets',
    registry.TRANSFORMS: 'mmcell.datasets',
    registry.METRICS: 'mmcell.evaluation.registered',
    registry.MODELS: 'mmcell.models',
    registry.TASK_UTILS: 'mmcell.models',
    registry.HOOKS: 'mmcell.hooks',
    registry.OPTIM_WRAPPERS: 'mmcell.framework.mixed_precision',
    registry.PARAM_SCHEDULERS: 'mmcell.framework.schedules',
    registry.VISUALIZERS: 'mmcell.visualization.visualizer',
}


def register_lazily() -> None:
    """Adds mmcell's modules to the modules that each registry imports at its first look-up.

    If the first look-up of a registry is already over, its module is imported at once, because the registry would not
    import it any more. MMEngine offers no method for this: the modules are an argument of ``Registry``, which keeps
    them in ``_locations``.
    """
    for mmdet_registry, location in _LOCATIONS.items():
        if location not in mmdet_registry._locations:
            mmdet_registry._locations.append(location)
            if mmdet_registry._imported:
                import_module(location)
