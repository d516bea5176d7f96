"""The data sets that a config names."""

from collections.abc import Iterator, Mapping
from pathlib import Path


def leaf_settings(dataset: Mapping, name: str = 'dataset') -> Iterator[tuple[str, Mapping]]:
    """Yields the data sets that a data set repeats, mixes or joins, or itself, each with the name of its settings.

    Args:
        dataset: The settings of the data set.
        name: Their name in the config, with dots between the levels.
    """
    repeated, joined = dataset.get('dataset'), dataset.get('datasets')
    inner = [(f'{name}.dataset', repeated)] if isinstance(repeated, Mapping) else []
    inner += [(f'{name}.datasets.{index}', part)
              for index, part in enumerate(joined if isinstance(joined, list | tuple) else ())
              if isinstance(part, Mapping)]
    if not inner:
        yield name, dataset
    for place, part in inner:
        yield from leaf_settings(part, place)


def first_leaf(settings: Mapping, loader: str) -> Mapping:
    """Returns the settings of the first data set that a data loader reads; an empty dict if it has none.

    Args:
        settings: The resolved config.
        loader: The name of the data loader in the config, for example 'test_dataloader'.
    """
    dataset = (settings.get(loader) or {}).get('dataset')
    return next(leaf for _, leaf in leaf_settings(dataset)) if isinstance(dataset, Mapping) else {}


def find_validation_file(settings: Mapping) -> Path | None:
    """Returns the annotation file of the validation images, as :func:`find_annotation_file` does."""
    return find_annotation_file(settings, 'val_dataloader')


def find_annotation_file(settings: Mapping, loader: str) -> Path | None:
    """Returns the annotation file of the images of a data loader.

    Args:
        settings: The resolved config, as nested dicts and lists.
        loader: The name of the data loader in the config, for example 'test_dataloader'.

    Returns:
        The file; None if the config names none or several.
    """
    dataset = (settings.get(loader) or {}).get('dataset')
    leaves = [leaf for _, leaf in leaf_settings(dataset)] if dataset else []
    files = [leaf.get('ann_file') for leaf in leaves]
    if len(files) != 1 or not isinstance(files[0], str) or not files[0]:
        return None
    return Path(leaves[0].get('data_root') or '', files[0])
