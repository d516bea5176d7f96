"""Where MMDetection's registries find the modules of mmcell."""

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
    registry.VISUALIZERS: 'mmcell.visualization.visualizer',
}


def register_lazily() -> None:
    """Adds mmcell's locations to those that each registry imports at its first look-up.

    A registry that has already had its first look-up would never import them: then it is done here and now.
    mmengine offers no method for it: ``locations`` is an argument of the registry, kept in ``_locations``.
    """
    for known, location in _LOCATIONS.items():
        if location not in known._locations:
            known._locations.append(location)
            if known._imported:
                import_module(location)
