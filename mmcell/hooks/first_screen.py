"""The hook that describes a training or a test on the screen, before its first step."""

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmcell.checkpoints.provenance import find_leaves
from mmcell.hooks.budget import count_parameters

# The rows of a description: a label and the text beside it. The label is empty if a row continues the row above it.
Rows = Iterator[tuple[str, str]]
# In characters; a label and its text fill a line of 120 characters at most.
LABEL_WIDTH, TEXT_WIDTH = 13, 107
# Only the cells of this number of classes are listed, so that data with many classes do not fill the screen.
MAX_CLASSES = 24


@HOOKS.register_module()
class FirstScreenHook(Hook):
    """Logs a dozen lines before a training or a test: its model, data, length, device, numbers and output files.

    The lines appear on the screen and in the log file.
    """

    # The lines appear before other hooks check model and data, because some of these hooks read all annotations first.
    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """Logs the description of the training, in the first process only."""
        _log_rows(runner, 'training', describe_training(runner))

    def before_test(self, runner: Runner) -> None:
        """Logs the description of the test, in the first process only."""
        _log_rows(runner, 'test', describe_test(runner))


def _log_rows(runner: Runner, kind: str, rows: Rows) -> None:
    """Logs rows between those that every description begins and ends with, the labels in a column of their own."""
    if is_main_process():
        config = runner.cfg.filename
        rows = [(kind, str(config or 'a config without a file')), *describe_repeated_bases(config),
                ('model', describe_model(runner)), *rows, ('work folder', runner.work_dir),
                ('log file', f'{Path(runner.logger.log_file)}, with environment, config and hooks')]
        runner.logger.info('\n'.join(f'{label:<{LABEL_WIDTH}}{text}' for label, text in rows))


def describe_training(runner: Runner) -> Rows:
    """Yields the rows for a training: start, data, length, device, precision and seed."""
    yield from describe_start(runner)
    yield from describe_data_set('train data', runner.train_dataloader)
    if runner.val_loop is None:
        yield 'validation', 'none'
    else:
        yield from describe_data_set('validation', runner.val_loop.dataloader)
    yield 'length', describe_length(runner)
    yield from describe_unfinished_schedule(runner)
    yield 'device', describe_device(runner)
    yield 'precision', describe_precision(runner.optim_wrapper)
    yield 'seed', f'{runner.seed}' + (', deterministic' if runner.deterministic else '')


def describe_repeated_bases(config: str | None) -> Rows:
    """Yields one row if a config file assigns ``_base_`` several times, because MMEngine reads only the first."""
    if config is None or not config.endswith('.py') or not Path(config).is_file():
        return
    targets = [target for node in ast.parse(Path(config).read_text(encoding='utf-8')).body
               if isinstance(node, ast.Assign) for target in node.targets]
    n_bases = sum(getattr(target, 'id', None) == '_base_' for target in targets)
    if n_bases > 1:
        yield 'warning', f'_base_ is assigned {n_bases} times in {config}, but only the first counts: list all in one'


def describe_test(runner: Runner) -> Rows:
    """Yields the rows for a test: checkpoint, data, device and precision."""
    yield 'checkpoint', str(runner.cfg.get('load_from'))
    yield from describe_data_set('test data', runner.test_dataloader)
    yield 'device', describe_device(runner)
    yield 'precision', 'mixed' if getattr(runner.test_loop, 'fp16', False) else 'float32'


def describe_model(runner: Runner) -> str:
    """Returns the Python classes of the model and of its backbone, and the numbers of parameters.

    Example: 'MaskRCNN with ResNet, 4,054,152 trainable parameters of 4,054,152'. If something is wrapped around the
    model, for example ``TiledDetector``, its class comes first.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    names = []
    while model is not None:
        names.append(type(model).__name__)
        # Test-time augmentation holds the model in the attribute ``module``, TiledDetector in ``detector``.
        inner = [getattr(model, key) for key in ('module', 'detector', 'backbone') if hasattr(model, key)]
        model = inner[0] if inner else None
    trainable, total = count_parameters(runner.model)
    return f'{" with ".join(names)}, {trainable:,} trainable parameters of {total:,}'


def describe_start(runner: Runner) -> Rows:
    """Yields one row if the training is resumed or starts from the weights of a checkpoint, otherwise no row."""
    checkpoint = runner.cfg.get('load_from')
    if runner.iter:
        epoch = f'epoch {runner.epoch + 1}, ' if is_epoch_based(runner) else ''
        source = f' from {checkpoint}' if checkpoint else ''
        yield 'start', f'resumed{source}: continues with {epoch}step {runner.iter + 1:,}'
    elif checkpoint:
        yield 'start', f'weights of {checkpoint}'


def describe_data_set(label: str, dataloader: DataLoader) -> Rows:
    """Yields the rows for every data set in a data loader, also inside wrappers such as ``ConcatDataset``.

    Each has a row with its annotation file, fold, number of images, number of cells and channel order; if it has cells,
    rows with the number of cells per class; and if it keeps decoded images, a row on how many.
    """
    for dataset in find_leaves(dataloader.dataset):
        fold = getattr(dataset, 'fold', None)
        texts = [] if fold is None else [f'fold {fold}' if dataset.held_out else f'all folds but {fold}']
        texts.append(count_noun(len(dataset), 'image'))
        counts = count_cells(dataset)
        # Test images have no annotations.
        if counts:
            texts.append(count_noun(sum(counts.values()), 'cell'))
        order = dataset.metainfo.get('channel_order') if hasattr(dataset, 'metainfo') else None
        if order is not None:
            texts.append(f'channel order {order}')
        yield label, f'{getattr(dataset, "ann_file", None) or type(dataset).__name__}: {", ".join(texts)}'
        if counts:
            yield from (('', line) for line in wrap_counts(counts))
        if getattr(dataset, 'decoded', None) is not None:
            yield '', dataset.decoded.describe()


def count_cells(dataset: object) -> dict[str, int]:
    """Returns the number of cells of each class by name; empty if no image has a cell or the data set cannot tell."""
    if not hasattr(dataset, 'get_cat_ids'):
        return {}
    labels = Counter(label for index in range(len(dataset)) for label in dataset.get_cat_ids(index))
    names = dataset.metainfo['classes']
    return {name: labels[label] for label, name in enumerate(names)} if labels else {}


def wrap_counts(counts: dict[str, int]) -> list[str]:
    """Returns lines with the number of cells of each class; only the first ``MAX_CLASSES`` classes are listed."""
    # No-break spaces keep a class and its number on one line.
    texts = [f'{name} {count:,}'.replace(' ', '\xa0') for name, count in counts.items()]
    if len(texts) > MAX_CLASSES:
        texts[MAX_CLASSES:] = [f'and {len(texts) - MAX_CLASSES} more classes']
    return [line.replace('\xa0', ' ') for line in textwrap.wrap(', '.join(texts), TEXT_WIDTH)]


def count_noun(count: int, noun: str) -> str:
    """Returns a number with its noun, which gets an s unless the number is 1: '1 image', '2,000 images'."""
    return f'{count:,} {noun}{"" if count == 1 else "s"}'


def describe_length(runner: Runner) -> str:
    """Returns the number of epochs and steps, and the number of images per step, which all processes share.

    Example: '4 epochs of 80 steps: 320 steps, 4 images per step'.
    """
    dataloader = runner.train_dataloader
    batch = dataloader.batch_size or getattr(dataloader.batch_sampler, 'batch_size', None)
    per_step = '' if batch is None else f', {count_noun(batch * runner.world_size, "image")} per step'
    steps = f'{count_noun(runner.max_iters, "step")}{per_step}'
    if not is_epoch_based(runner):
        return steps
    return f'{count_noun(runner.max_epochs, "epoch")} of {count_noun(len(dataloader), "step")}: {steps}'


def describe_unfinished_schedule(runner: Runner) -> Rows:
    """Yields rows on warm-ups that last as long as the training or longer, and on milestones after its end."""
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    for index, scheduler in enumerate(schedulers):
        length, unit = (runner.max_epochs, 'epoch') if scheduler.by_epoch else (runner.max_iters, 'step')
        start = getattr(scheduler, 'start_factor', getattr(scheduler, 'factor', 1))
        is_warm_up = scheduler.begin == 0 and start < getattr(scheduler, 'end_factor', 1)
        if is_warm_up and length <= scheduler.end < INF:
            yield 'warm-up', (f'takes {count_noun(scheduler.end, unit)}, the whole training {length:,}: give a smaller '
                              f'param_scheduler.{index}.end to reach the full learning rate')
        missed = sorted(step for step in getattr(scheduler, 'milestones', ()) if step > length)
        if missed:
            yield 'schedule', (f'the learning rate would change at {unit} {", ".join(f"{step:,}" for step in missed)}, '
                               f'but the training has {length:,}; change param_scheduler.{index}')


def is_epoch_based(runner: Runner) -> bool:
    """Returns whether the training counts epochs; otherwise it only counts steps."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def describe_device(runner: Runner) -> str:
    """Returns the device with the name of the GPU or the number of threads, and the number of processes."""
    device = get_device()
    name = torch.cuda.get_device_name() if device == 'cuda' else count_noun(torch.get_num_threads(), 'thread')
    return f'{device} ({name}), {runner.world_size} process{"" if runner.world_size == 1 else "es"}'


def describe_precision(optim_wrapper: object) -> str:
    """Returns 'float32', or for mixed precision its type, for example 'mixed, bfloat16'."""
    if not isinstance(optim_wrapper, AmpOptimWrapper):
        return 'float32'
    dtype = optim_wrapper.cast_dtype
    return f'mixed, {str(dtype).removeprefix("torch.") if dtype else "float16"}'
