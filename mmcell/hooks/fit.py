"""Hooks that stop a run whose parts do not fit together."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.checkpoints.fit import refuse_other_classes, refuse_other_weights
from mmcell.checkpoints.provenance import compare_data, describe_data
from mmcell.framework.schedules import follow_length


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Compares the number of classes of the model's heads with the data, before training, validation and testing.

    MMDetection's ``NumClassCheckHook`` does not look at test data, and does not say which settings to change.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the training data, and makes the schedule of a resumed run follow the length of the training."""
        self._check(runner, runner.train_dataloader.dataset)
        if follow_length(runner):
            rate = runner.optim_wrapper.param_groups[0]['lr']
            runner.logger.warning(
                f'The length of the training is not that of the resumed checkpoint: the learning rate continues at '
                f'{rate:.3g}, as in a training that had {runner.max_iters:,} steps from the start.')

    def before_val(self, runner: Runner) -> None:
        """Checks the validation data."""
        self._check(runner, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Checks the test data."""
        self._check(runner, runner.test_dataloader.dataset)

    def _check(self, runner: Runner, dataset: object) -> None:
        # MMDetection's ConcatDataset has one metainfo per part if the parts differ.
        parts = dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]
        for metainfo in parts:
            refuse_other_classes(runner.model, metainfo['classes'])


class FittingCheckpointHook(Hook):
    """Refuses to test a checkpoint that lacks a weight of the model, and warns if the data do not suit its training.

    It warns if classes, channel order or validation data differ from the training of the checkpoint, and if images
    under test were in the training data. MMEngine only logs weights that do not fit, and continues with random weights
    in their place, which is right only at the start of a training.

    Args:
        split: Which data are tested, 'val' or 'test'.
    """

    priority = 'LOWEST'

    def __init__(self, split: str = 'test') -> None:
        self.split = split

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the weights with the model, and mmcell's record of the training data with the data under test.

        Raises:
            FitError: A weight of the model is missing in the checkpoint, or has another shape there.
        """
        refuse_other_weights(runner.model, checkpoint)
        meta = checkpoint.get('meta')
        if not isinstance(meta, dict) or 'mmcell' not in meta:
            return
        tested = describe_data(runner.test_dataloader.dataset)
        try:
            warnings = compare_data(meta['mmcell']['data'], tested, self.split)
        except (KeyError, TypeError, AttributeError) as error:
            warnings = [f'the record of the training data in the checkpoint cannot be read: {error!r}']
        for warning in warnings:
            runner.logger.warning(warning)
