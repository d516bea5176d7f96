"""The hook that looks at the first batch of each loop, and at the features of the first image."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmcell.checkpoints.fit import FitError, without_wrappers

# What MMDetection's heads, mmcell's metrics and both data preprocessors look up in the meta information of a sample.
_TRAINED_KEYS = ('img_shape',)
_PREDICTED_KEYS = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')


def refuse_missing_keys(sample: object, keys: Iterable[str], pipeline: str) -> None:
    """Raises a ``FitError`` if a ``DetDataSample`` lacks meta information, naming where its pipeline stands."""
    missing = [key for key in keys if key not in sample.metainfo_keys()]
    if missing:
        raise FitError(f'the samples of {pipeline} have no {", ".join(missing)}: end the pipeline with '
                       "dict(type='PackCellInputs'), or add the names to meta_keys of the PackCellInputs or "
                       'PackDetInputs that it has, and load images with LoadTiff or a transform that sets them')


@HOOKS.register_module()
class FirstStepHook(Hook):
    """Stops in one line if the samples of a pipeline, or the features of a backbone, do not suit what follows them.

    The first batch of each loop is looked at, before the model sees it: it must be packed, and have the meta
    information that heads and metrics look up. When features come to the neck for the first time, their channels are
    compared with ``neck.in_channels``. MMDetection ends in a traceback in all three cases.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Lets the neck of the model compare its first features, and the data loader look at its samples."""
        compare_channels_once(runner.model)
        # Samples that are not packed have parts of different lengths, which cannot be collated.
        loader = runner.train_dataloader
        loader.collate_fn = partial(_collate_packed, loader.collate_fn)

    def before_test(self, runner: Runner) -> None:
        """Lets the neck of the model compare the channels of its first features."""
        compare_channels_once(runner.model)

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, mode: str = 'train') -> None:
        if batch_idx == 0:
            refuse_unpacked(data_batch, f'{mode}_dataloader', _TRAINED_KEYS if mode == 'train' else _PREDICTED_KEYS)


def _collate_packed(collate: Callable, samples: Sequence) -> object:
    if len(samples):
        refuse_unpacked(samples[0], 'train_dataloader', ())
    return collate(samples)


def refuse_unpacked(data_batch: object, dataloader: str, keys: Iterable[str]) -> None:
    """Refuses a batch that no ``PackCellInputs`` or ``PackDetInputs`` has packed, or that lacks meta information.

    Args:
        data_batch: What the data loader gives, or one sample.
        dataloader: The name of the data loader in the config.
        keys: The names of the meta information that is needed.

    Raises:
        FitError: The batch has no inputs or data samples, or a sample lacks a key.
    """
    pipeline = f'{dataloader}.dataset.pipeline'
    if not isinstance(data_batch, dict) or not {'inputs', 'data_samples'} <= data_batch.keys():
        found = ', '.join(map(str, data_batch)) if isinstance(data_batch, dict) else type(data_batch).__name__
        raise FitError(f'{pipeline} does not pack its samples for the model (it gives {found}): end it with '
                       "dict(type='PackCellInputs')")
    samples = data_batch['data_samples']
    # Views of a tta_pipeline are lists of samples.
    while isinstance(samples, list | tuple) and samples:
        samples = samples[0]
    if hasattr(samples, 'metainfo_keys'):
        refuse_missing_keys(samples, keys, pipeline)


def compare_channels_once(model: nn.Module) -> None:
    """Makes every neck of a model compare the channels of the first features that it gets with ``in_channels``."""
    for name, module in model.named_modules():
        if name.split('.')[-1] == 'neck' and isinstance(getattr(module, 'in_channels', None), list | tuple):
            _compare_once(without_wrappers(name), module)


def _compare_once(name: str, neck: nn.Module) -> None:
    def compare(_: nn.Module, args: tuple) -> None:
        handle.remove()
        features = args[0] if args and isinstance(args[0], list | tuple) else ()
        channels = [level.shape[1] for level in features if isinstance(level, Tensor)]
        if channels and channels != list(neck.in_channels):
            raise FitError(f'model.{name}.in_channels is {list(neck.in_channels)}, but the backbone gives features of '
                           f'{channels} channels: --cfg-options "model.{name}.in_channels={channels}"')
    handle = neck.register_forward_pre_hook(compare)
