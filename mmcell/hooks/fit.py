"""Hooks that stop a run in which model, checkpoint and data do not fit together."""

from collections.abc import Sequence

from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmcell.annotations.coco_json import read_annotations
from mmcell.checkpoints.fit import FitError, count_fitting_weights, refuse_other_classes, refuse_other_model
from mmcell.checkpoints.provenance import compare_data, count_trained_on, describe_data, find_leaves
from mmcell.classes.matching import ClassesError, are_alike
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.class_order import class_names, order_classes
from mmcell.datasets.colors import refuse_swapped_colors
from mmcell.framework.safe_loading import WeightsError
from mmcell.models.weight_averages import AVERAGES


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Makes sure that model, checkpoint and data mean the same by a label and by a colour.

    Labels follow the names of the classes, not their places in the annotation files. The names come from the checkpoint
    that is tested, resumed or fine-tuned, otherwise from the (first) training data; all other data sets are brought
    into their order. The number of classes of the model's heads must be that of the data, and the model must be shown
    the order of colours that it expects.

    A training whose config has a ``fold`` is refused if its data are not those of the fold: mmcell's commands give the
    data sets their fold, MMDetection's tools/train.py does not.

    MMDetection's ``NumClassCheckHook`` only counts classes, does not look at test data, and does not say which settings
    to change.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Brings the data into the order of the classes of the checkpoint.

        A training that starts from weights of other classes only gets a warning.

        Raises:
            ClassesError: The data to be tested, or of a training that is resumed, have other classes.
        """
        loops = [loop for loop in (runner._train_loop, runner._val_loop, runner._test_loop)
                 if hasattr(loop, 'dataloader')]
        meta = checkpoint.get('meta')
        names = class_names(meta.get('dataset_meta') if isinstance(meta, dict) else None)
        own = class_names(loops[0].dataloader.dataset.metainfo) if loops else None
        is_training = hasattr(runner._train_loop, 'dataloader')
        if own is None or (names is None and is_training):
            return
        if names is None:
            runner.logger.warning('the checkpoint does not name its classes: they are taken to be those of the data, '
                                  f'in this order: {", ".join(own)}')
        elif not is_training or runner._resume or are_alike(names, own):
            for loop in loops:
                _order_loop(runner, loop, names, f'the checkpoint {runner.cfg.get("load_from")}')
        elif len(names) == len(own):
            runner.logger.warning(f'the checkpoint was trained on the classes {names}, the data have {own}: the heads '
                                  'start with the weights of other classes')

    def before_train(self, runner: Runner) -> None:
        """Checks model and data.

        Raises:
            ClassesError: Two data sets have different classes.
            ColorError: The model would be shown red and blue swapped.
            FitError: The heads of the model have another number of classes than the data, or the data are not those of
                the fold.
        """
        refuse_swapped_colors(runner.cfg)
        _refuse_other_fold(runner)
        names = class_names(runner.train_dataloader.dataset.metainfo)
        if names is not None:
            source = getattr(find_leaves(runner.train_dataloader.dataset)[0], 'ann_file', 'the training data')
            _order_loop(runner, runner.train_loop, names, source)
            if runner.val_loop is not None:
                _order_loop(runner, runner.val_loop, names, source)
        _check_classes(runner, runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Checks the validation data."""
        _check_classes(runner, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Checks model and test data."""
        refuse_swapped_colors(runner.cfg)
        _check_classes(runner, runner.test_dataloader.dataset)


def _refuse_other_fold(runner: Runner) -> None:
    """Refuses a training whose config has a fold that training or validation data do not have."""
    fold = runner.cfg.get('fold')
    if fold is None:
        return
    loaders = {'training': runner.train_dataloader}
    if runner.val_loop is not None:
        loaders['validation'] = runner.val_loop.dataloader
    for name, loader in loaders.items():
        sides = {(leaf.fold, leaf.held_out) for leaf in find_leaves(loader.dataset)
                 if getattr(leaf, 'fold', None) is not None}
        if sides != {(fold, name == 'validation')}:
            raise FitError(f'the config has fold={fold}, but the {name} data are '
                           + ('another side of a fold' if sides else 'not those of a fold')
                           + ": start mmcell's tools/train.py, which gives the data sets of the config their fold, or "
                             'write fold and held_out into the data sets')


def _check_classes(runner: Runner, dataset: object) -> None:
    # MMDetection's ConcatDataset has one metainfo per part if the parts differ.
    for metainfo in dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]:
        refuse_other_classes(runner.model, metainfo['classes'])


def _order_loop(runner: Runner, loop: BaseLoop, names: Sequence[str], source: str) -> None:
    """Makes the labels of a loop's data follow the names of classes, and tells evaluators and visualizer."""
    dataset = loop.dataloader.dataset
    order_classes(dataset, names, source)
    if hasattr(loop, 'evaluator'):
        if any(isinstance(metric, CocoMetric) for metric in loop.evaluator.metrics):
            _refuse_order_unlike_file(dataset)
        loop.evaluator.dataset_meta = dataset.metainfo
        runner.visualizer.dataset_meta = dataset.metainfo


def _refuse_order_unlike_file(dataset: object) -> None:
    """Refuses data whose labels do not follow the categories of their file, as MMDetection's metrics expect."""
    for leaf in find_leaves(dataset):
        if isinstance(leaf, CellDataset):
            in_file = [category['id'] for category in read_annotations(leaf.ann_file)['categories']]
            if in_file != leaf.cat_ids:
                raise ClassesError(f"MMDetection's CocoMetric takes the classes in the order of {leaf.ann_file}, but "
                                   f"the labels are {list(leaf.metainfo['classes'])}: use dict(type='CellMetric'), "
                                   'or list the categories of the file in this order')


class FittingCheckpointHook(Hook):
    """Refuses to test a checkpoint of another model, and warns if the data do not suit its training.

    MMEngine only logs weights that do not fit, and continues with random weights in their place, which is right only at
    the start of a training.

    The hook warns if validation data differ from the training of the checkpoint, or are read in another channel order,
    and if images under test were in the training data. If these images are a fold that is held out, it refuses the
    test.

    Args:
        split: Which data are tested, 'val' or 'test'.
    """

    priority = 'LOWEST'

    def __init__(self, split: str = 'test') -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the weights with the model, and mmcell's record of the training data with the data under test.

        Raises:
            FitError: The checkpoint is of another model, or was trained on images of the fold that is held out.
        """
        refuse_other_model(runner.model, runner.cfg.model.to_dict(), checkpoint)
        meta = checkpoint.get('meta')
        if not isinstance(meta, dict) or 'mmcell' not in meta:
            return
        tested = describe_data(runner.test_dataloader.dataset)
        try:
            _refuse_trained_on(meta['mmcell']['data'], tested)
            warnings = compare_data(meta['mmcell']['data'], tested, self.split)
        except (KeyError, TypeError, AttributeError) as error:
            warnings = [f'the record of the training data in the checkpoint cannot be read: {error!r}']
        for warning in warnings:
            runner.logger.warning(warning)


def _refuse_trained_on(recorded: dict[str, list[dict]], tested: list[dict]) -> None:
    """Refuses to test a checkpoint on a held-out fold whose images it was trained on."""
    held_out = [part for part in tested if part.get('held_out')]
    n_known, n_images = count_trained_on(recorded, held_out)
    if n_known:
        raise FitError(f'{n_known} of the {n_images} images of fold {held_out[0]["fold"]} were in the training data of '
                       'this checkpoint (same name and size in bytes), so that its predictions are not out-of-fold: '
                       'name the checkpoint of the training that held out this fold, or the fold of this checkpoint '
                       'with --cfg-options fold=N')


@HOOKS.register_module()
class StartingCheckpointHook(Hook):
    """Refuses to start or continue a training from a checkpoint that does not fit the model.

    Without it, MMEngine trains with random weights in place of weights that do not fit, and finds another model at
    ``--resume`` when it loads the state of the optimizer. The hook comes before MMEngine's ``EMAHook``, which reads the
    checkpoint, too.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the checkpoint with the model, and logs how many weights of ``load_from`` have a place in it.

        Raises:
            FitError: The checkpoint to resume from is of another model, or has averages of weights that no hook
                continues, or less than half of the model's weights are in the checkpoint to start from.
            WeightsError: The checkpoint to resume from has no optimizer state.
        """
        if not isinstance(runner._train_loop, BaseLoop):
            return
        if not runner._resume:
            runner.logger.info(count_fitting_weights(runner.model, checkpoint, str(runner.cfg.get('load_from'))))
            if 'state_dict' not in checkpoint:
                # EMAHook only reads weights that are in ``state_dict``.
                weights = dict(checkpoint)
                checkpoint.clear()
                checkpoint['state_dict'] = weights
            return
        if 'optimizer' not in checkpoint or 'message_hub' not in checkpoint:
            raise WeightsError('the checkpoint to resume from has no optimizer state (best_*.pth never has): resume '
                               'from epoch_*.pth or iter_*.pth, or start a new training from its weights with '
                               '--cfg-options load_from=FILE')
        if AVERAGES in checkpoint:
            # MultiEMAHook has a higher priority, and takes them out.
            raise FitError('--resume: the checkpoint has averaged weights in place of those that were trained last: '
                           'the training can only go on with MultiEMAHook in custom_hooks, as it began')
        try:
            refuse_other_model(runner.model, runner.cfg.model.to_dict(), checkpoint)
        except FitError as error:
            raise FitError(f'--resume: {error}. To train this model from its first step, leave out --resume and name '
                           'another folder with --work-dir FOLDER') from error
