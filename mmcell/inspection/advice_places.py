"""Where a config, as nested dicts and lists, has the settings that advice is about."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

from mmengine.config import Config

from mmcell.settings.data_sets import leaf_settings

LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'


def detector_key(config: Mapping) -> str:
    """Returns the key of the detector, which a model of tiles holds inside."""
    return 'model.detector' if 'detector' in config.get('model', {}) else 'model'


def find(config: Mapping, key: str, default: object = None) -> object:
    """Returns the value of a key with dots between the levels, or the default."""
    value: object = config
    for name in key.split('.'):
        if not isinstance(value, Mapping) or value.get(name) is None:
            return default
        value = value[name]
    return value


def find_data_set(config: Mapping, loader: str) -> tuple[str, Mapping] | None:
    """Returns the key and the settings of the data set of a data loader; None if it has none, or joins several."""
    dataset = find(config, f'{loader}.dataset')
    leaves = list(leaf_settings(dataset, f'{loader}.dataset')) if dataset else []
    return leaves[0] if len(leaves) == 1 and '.datasets.' not in leaves[0][0] else None


def find_pipelines(config: Mapping, loaders: Sequence[str] = LOADERS) -> dict[str, list[dict]]:
    """Returns the pipelines of the data loaders by their keys, as copies."""
    found = [find_data_set(config, loader) for loader in loaders]
    return {f'{entry[0]}.pipeline': deepcopy(list(entry[1]['pipeline']))
            for entry in found if entry is not None and entry[1].get('pipeline')}


def insert_after_loading(pipeline: Sequence[dict], step: dict) -> list[dict]:
    """Returns the pipeline with one more step behind those that load."""
    n_loading = next((place for place, entry in enumerate(pipeline) if not str(entry['type']).startswith('Load')),
                     len(pipeline))
    return [*pipeline[:n_loading], step, *pipeline[n_loading:]]


def is_resizing(step: Mapping) -> bool:
    """Whether a step of a pipeline resizes images by a factor that is not drawn at random."""
    name = str(step['type']).rpartition('.')[2]
    return name == 'CapLongSide' or ('Resize' in name and 'Random' not in name)


def set_stages(config: Mapping, key: str, name: str, value: object) -> dict[str, object]:
    """Returns the setting that gives a value to a dict, or to all dicts of a list, as Cascade R-CNN has for stages."""
    stages = find(config, key)
    if isinstance(stages, Mapping):
        return {f'{key}.{name}': value}
    return {key: [{**stage, name: value} for stage in stages]}


def with_settings(config: Mapping, settings: Mapping[str, object]) -> dict:
    """Returns a copy of a config with other values of some keys, with dots between the levels."""
    changed = Config(deepcopy(dict(config)))
    changed.merge_from_dict(deepcopy(dict(settings)))
    return changed.to_dict()
