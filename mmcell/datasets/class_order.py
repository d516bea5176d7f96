"""Makes the labels of several data sets mean the same classes, whatever the order in their annotation files is."""

from collections.abc import Sequence

from mmcell.classes.matching import ClassesError, match_classes
from mmcell.datasets.cell_dataset import CellDataset


def class_names(metainfo: dict | list) -> list[str] | None:
    """Returns the names of the classes in the meta information of a data set; None if it does not name them.

    Args:
        metainfo: The attribute ``metainfo`` of a data set, or ``meta['dataset_meta']`` of a checkpoint. For joined data
            sets it is a list with one dict per data set, of which the first counts. Before MMDetection 3.0 the key was
            CLASSES.
    """
    first = metainfo[0] if isinstance(metainfo, list | tuple) and metainfo else metainfo
    names = (first.get('classes') or first.get('CLASSES')) if isinstance(first, dict) else None
    return list(names) if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else None


def order_classes(dataset: object, names: Sequence[str], source: str) -> None:
    """Makes the labels of a data set, and of all data sets inside it, follow the order of these class names.

    Args:
        dataset: A data set that has been built, which may be a wrapper (ConcatDataset, RepeatDataset, CellMixDataset).
        names: The names of the classes.
        source: Where the names come from, for messages.

    Raises:
        ClassesError: A data set has other classes, or the same classes in another order and is no ``CellDataset``,
            which only can change the order.
    """
    parts = getattr(dataset, 'datasets', [dataset.dataset] if hasattr(dataset, 'dataset') else [])
    for part in parts:
        order_classes(part, names, source)
    if parts:
        # Wrappers keep copies of the meta information.
        kept = dataset._metainfo
        dataset._metainfo = ([{**old, **part.metainfo} for old, part in zip(kept, parts, strict=True)]
                             if isinstance(kept, list) else {**kept, **parts[0].metainfo})
    elif isinstance(dataset, CellDataset):
        dataset.order_classes(names, source)
    else:
        own = class_names(dataset.metainfo)
        if own and match_classes(names, own, source, _name(dataset)) != list(range(len(own))):
            raise ClassesError(f'{source} has the classes {list(names)}, but {_name(dataset)} has them in the order '
                               f"{own}, which only type='CellDataset' can change")


def _name(dataset: object) -> str:
    return str(getattr(dataset, 'ann_file', '') or type(dataset).__name__)
