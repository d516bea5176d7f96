"""The hook that says what is trained or tested, before the first step."""

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
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmcell.checkpoints.provenance import find_leaves
from mmcell.hooks.budget import count_parameters

# Rows of a summary: a label, empty in a row that continues the one above it, and the text beside it.
Rows = Iterator[tuple[str, str]]
LABEL_WIDTH, TEXT_WIDTH = 13, 107
# Data sets with many classes would fill the screen.
MAX_CLASSES = 24


@HOOKS.register_module()
class FirstScreenHook(Hook):
    """Logs in a dozen lines what is trained or tested, on which data, for how long, where to, and on what device."""

    # Before the hooks that check model and data, some of which read all annotations.
    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """Describes the training."""
        if is_main_process():
            runner.logger.info(to_text(describe_training(runner)))

    def before_test(self, runner: Runner) -> None:
        """Describes the test."""
        if is_main_process():
            runner.logger.info(to_text(describe_test(runner)))


def to_text(rows: Rows) -> str:
    """Lines with the labels in a column of their own."""
    return '\n'.join(f'{label:<{LABEL_WIDTH}}{text}' for label, text in rows)


def describe_training(runner: Runner) -> Rows:
    """What is trained, on which data, for how long, with which numbers, and where to."""
    yield 'training', str(runner.cfg.filename or 'a config without a file')
    yield 'model', describe_model(runner)
    yield from describe_start(runner)
    yield from describe_data_set('train data', runner.train_dataloader)
    if runner.val_loop is None:
        yield 'validation', 'none'
    else:
        yield from describe_data_set('validation', runner.val_loop.dataloader)
    yield 'length', describe_length(runner)
    yield 'device', describe_device(runner)
    yield 'precision', describe_precision(runner.optim_wrapper)
    yield 'seed', f'{runner.seed}' + (', deterministic' if runner.deterministic else '')
    yield from describe_outputs(runner)


def describe_test(runner: Runner) -> Rows:
    """What is tested, on which data, and where to."""
    yield 'test', str(runner.cfg.filename or 'a config without a file')
    yield 'model', describe_model(runner)
    yield 'checkpoint', str(runner.cfg.get('load_from'))
    yield from describe_data_set('test data', runner.test_dataloader)
    yield 'device', describe_device(runner)
    yield 'precision', 'mixed' if getattr(runner.test_loop, 'fp16', False) else 'float32'
    yield from describe_outputs(runner)


def describe_model(runner: Runner) -> str:
    """The classes of model and backbone, and the numbers of parameters."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    names = []
    while model is not None:
        names.append(type(model).__name__)
        # Test-time augmentation has the model in module, TiledDetector in detector.
        inner = [getattr(model, key) for key in ('module', 'detector', 'backbone') if hasattr(model, key)]
        model = inner[0] if inner else None
    trainable, total = count_parameters(runner.model)
    return f'{" with ".join(names)}, {trainable:,} trainable parameters of {total:,}'


def describe_start(runner: Runner) -> Rows:
    """Where the weights come from, if a checkpoint is named."""
    checkpoint = runner.cfg.get('load_from')
    if runner.iter:
        epoch = f'epoch {runner.epoch + 1}, ' if is_epoch_based(runner) else ''
        source = f' from {checkpoint}' if checkpoint else ''
        yield 'start', f'resumed{source}: continues with {epoch}step {runner.iter + 1:,}'
    elif checkpoint:
        yield 'start', f'weights of {checkpoint}'


def describe_data_set(label: str, dataloader: DataLoader) -> Rows:
    """One row with the annotation file and numbers for each data set in a data loader, and one with its classes."""
    for dataset in find_leaves(dataloader.dataset):
        texts = [count_noun(len(dataset), 'image')]
        counts = count_cells(dataset)
        # Test images have no annotations.
        if counts:
            texts.append(count_noun(sum(counts.values()), 'cell'))
        order = dataset.metainfo.get('channel_order') if hasattr(dataset, 'metainfo') else None
        if order is not None:
            texts.append(f'colour order {order}')
        yield label, f'{getattr(dataset, "ann_file", None) or type(dataset).__name__}: {", ".join(texts)}'
        if counts:
            yield from (('', line) for line in wrap_counts(counts))


def count_cells(dataset: object) -> dict[str, int]:
    """Cells per class; empty where no image has a cell, and for data sets that are not MMDetection's."""
    if not hasattr(dataset, 'get_cat_ids'):
        return {}
    labels = Counter(label for index in range(len(dataset)) for label in dataset.get_cat_ids(index))
    names = dataset.metainfo['classes']
    return {name: labels[label] for label, name in enumerate(names)} if labels else {}


def wrap_counts(counts: dict[str, int]) -> list[str]:
    """Lines with the number of cells of each class, or of the first classes where there are many."""
    # No-break spaces keep a class and its number on one line.
    texts = [f'{name} {count:,}'.replace(' ', '\xa0') for name, count in counts.items()]
    if len(texts) > MAX_CLASSES:
        texts[MAX_CLASSES:] = [f'and {len(texts) - MAX_CLASSES} more classes']
    return [line.replace('\xa0', ' ') for line in textwrap.wrap(', '.join(texts), TEXT_WIDTH)]


def count_noun(count: int, noun: str) -> str:
    """'1 image', '2 images'."""
    return f'{count:,} {noun}{"" if count == 1 else "s"}'


def describe_length(runner: Runner) -> str:
    """Epochs and steps, and the number of images per step over all processes."""
    dataloader = runner.train_dataloader
    batch = dataloader.batch_size or getattr(dataloader.batch_sampler, 'batch_size', None)
    per_step = '' if batch is None else f', {count_noun(batch * runner.world_size, "image")} per step'
    steps = f'{count_noun(runner.max_iters, "step")}{per_step}'
    if not is_epoch_based(runner):
        return steps
    return f'{count_noun(runner.max_epochs, "epoch")} of {count_noun(len(dataloader), "step")}: {steps}'


def is_epoch_based(runner: Runner) -> bool:
    """Whether a training counts epochs, or only steps."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def describe_device(runner: Runner) -> str:
    """The kind of the device with its name or the number of threads, and the number of processes."""
    device = get_device()
    name = torch.cuda.get_device_name() if device == 'cuda' else count_noun(torch.get_num_threads(), 'thread')
    return f'{device} ({name}), {runner.world_size} process{"" if runner.world_size == 1 else "es"}'


def describe_precision(optim_wrapper: object) -> str:
    """'float32', or the type of mixed precision."""
    if not isinstance(optim_wrapper, AmpOptimWrapper):
        return 'float32'
    dtype = optim_wrapper.cast_dtype
    return f'mixed, {str(dtype).removeprefix("torch.") if dtype else "float16"}'


def describe_outputs(runner: Runner) -> Rows:
    """Where checkpoints and logs go."""
    yield 'work folder', runner.work_dir
    yield 'log file', f'{Path(runner.logger.log_file)}, with environment, config and hooks'
