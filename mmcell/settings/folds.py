"""Which images a training gets: all folds but one with the setting ``fold``, or all that have annotations."""

from collections.abc import Mapping

from mmengine.config import Config, ConfigDict

from mmcell.errors import quote
from mmcell.settings.data_sets import leaf_settings
from mmcell.settings.names import argument_names, find_class
from mmcell.settings.options import SettingError

FILE_WITH_FOLDS = 'trainval.json'
# Of each data loader: the annotation file that is replaced, and whether the images of the fold are taken.
_SIDES = {'train_dataloader': ('train.json', False), 'val_dataloader': ('val.json', True)}


def apply_fold(config: Config) -> None:
    """Gives the training and validation data of a config the images of its fold; without ``fold`` nothing changes.

    Every data set of training and validation, also inside wrappers, gets ``fold`` and ``held_out``, and the file
    ``trainval.json`` beside its ``train.json`` or ``val.json``. A data set that has a number as ``fold`` already keeps
    its ``ann_file``; a data set with ``fold=None`` is left as it is. ``CellMetric`` with an ``ann_file`` gets the same
    file. Test data have no folds, and do not change.

    Args:
        config: The resolved config, which is changed.

    Raises:
        SettingError: ``fold`` is not a whole number from 0 on, an annotation file has another name, a data set has no
            folds, or an evaluator would measure the images of all folds.
    """
    fold = config.get('fold')
    if fold is None:
        return
    if not isinstance(fold, int) or isinstance(fold, bool) or fold < 0:
        raise SettingError(f'fold must be a whole number from 0 on, or None, got {quote(fold)}')
    for loader, (replaced, held_out) in _SIDES.items():
        outer = (config.get(loader) or {}).get('dataset')
        for name, dataset in leaf_settings(outer, f'{loader}.dataset') if outer else ():
            if dataset.get('fold', fold) is not None:
                _hold_out(dataset, name, fold, held_out, replaced)
    evaluators = config.get('val_evaluator') or []
    for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if evaluator.get('ann_file'):
            _measure_held_out(evaluator)


def options_of_final_training(settings: Mapping) -> tuple[str, ...]:
    """Returns the settings KEY=VALUE with which a training gets all images with annotations, and is not validated.

    Every data set of the training reads the file ``trainval.json`` beside its ``train.json``.

    Args:
        settings: The resolved config, as nested dicts and lists.

    Raises:
        SettingError: An annotation file of the training has another name, so that it is not known where all images are.
    """
    options = []
    for name, dataset in leaf_settings(settings['train_dataloader']['dataset'], 'train_dataloader.dataset'):
        folder, slash, file_name = str(dataset.get('ann_file')).replace('\\', '/').rpartition('/')
        if file_name == 'train.json':
            options.append(f'{name}.ann_file={f"{folder}{slash}{FILE_WITH_FOLDS}"!r}')
        elif file_name != FILE_WITH_FOLDS:
            raise SettingError(f'final: {name}.ann_file is {quote(dataset.get("ann_file"))}; only train.json is '
                               f'replaced by the {FILE_WITH_FOLDS} beside it. Set {name}.ann_file to a '
                               f'{FILE_WITH_FOLDS} with all images')
    return (*options, 'val_dataloader=None', 'val_cfg=None', 'val_evaluator=None')


def _hold_out(dataset: ConfigDict, name: str, fold: int, held_out: bool, replaced: str) -> None:
    kind = find_class(dataset.get('type'))
    if kind is not None and 'held_out' not in argument_names(kind):
        raise SettingError(f"fold={fold}: {name} has the type {dataset.type}, which knows no folds: write "
                           "type='CellDataset', or fold=None in this data set to leave it as it is")
    if dataset.get('fold') is None:
        dataset.ann_file = _beside(dataset.get('ann_file'), replaced, name, fold)
    dataset.fold, dataset.held_out = fold, held_out


def _measure_held_out(evaluator: ConfigDict) -> None:
    kind = evaluator.get('type')
    if getattr(kind, '__name__', str(kind)).rpartition('.')[2] != 'CellMetric':
        raise SettingError(f'fold: the evaluator {kind} with an ann_file measures the images of all folds: write '
                           "val_evaluator = dict(type='CellMetric')")
    if not str(evaluator.ann_file).endswith(FILE_WITH_FOLDS):
        evaluator.ann_file = _beside(evaluator.ann_file, 'val.json', 'val_evaluator', None)


def _beside(ann_file: object, replaced: str, name: str, fold: int | None) -> str:
    """Returns the path of the file with folds beside an annotation file.

    Args:
        ann_file: The path of the annotation file.
        replaced: The name that this file must have.
        name: The name of the settings that name it, for the message.
        fold: The number of the fold; None for settings that take no fold.
    """
    folder, slash, file_name = str(ann_file).replace('\\', '/').rpartition('/')
    if file_name != replaced:
        also = '' if fold is None else f' and {name}.fold={fold}, or fold=None for data of which nothing is held out'
        raise SettingError(f'fold: {name}.ann_file is {quote(ann_file)}; only {replaced} is replaced by the '
                           f'{FILE_WITH_FOLDS} beside it. Set {name}.ann_file to the file with the folds{also}')
    return f'{folder}{slash}{FILE_WITH_FOLDS}'
