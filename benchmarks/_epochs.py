"""Whole epochs of an annotation file, with loaders in processes of their own, and with validation."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _measure import use_memory_of
from _parts import PartClock
from _trainees import Trainee, make_trainee
from _validation import make_evaluation, predict, test_samples
from torch.utils.data import DataLoader

from mmcell.errors import MmcellError


@dataclass(frozen=True)
class EpochTime:
    """The seconds of an epoch of one kind.

    Attributes:
        training: Seconds of the training steps, with the start of the workers.
        validation: Seconds of prediction and AP of the validation images.
        cpu: Seconds that processors spent on both, in this process and in the workers.
        ap: The AP of masks, as the kind computes it.
    """

    training: float
    validation: float
    cpu: float
    ap: float

    @property
    def whole(self) -> float:
        """Seconds of the whole epoch."""
        return self.training + self.validation


def write_part(ann_file: Path, n_images: int | None, folder: Path) -> Path:
    """Writes the first images of an annotation file, with their cells, as an annotation file.

    Args:
        ann_file: The annotation file, whose classes are numbered from 1.
        n_images: How many images are taken; None takes all.
        folder: Where the file is written.

    Raises:
        MmcellError: The classes are not numbered 1, 2, 3, 4.
    """
    document = json.loads(ann_file.read_text())
    numbers = [category['id'] for category in document['categories']]
    if numbers != [1, 2, 3, 4]:
        raise MmcellError(f'{ann_file}: the models of this benchmark have the classes 1, 2, 3, 4, but the file has '
                          f'{numbers}')
    document['images'] = document['images'][:n_images]
    kept = {image['id'] for image in document['images']}
    document['annotations'] = [cell for cell in document['annotations'] if cell['image_id'] in kept]
    document['info']['data_root'] = str((ann_file.parent / document['info']['data_root']).resolve())
    path = folder / ann_file.name
    path.write_text(json.dumps(document))
    return path


def read_records(ann_file: Path, test_mode: bool) -> list[dict]:
    """Returns one record per image of an annotation file."""
    from mmcell.datasets import CellDataset
    dataset = CellDataset(ann_file=str(ann_file), test_mode=test_mode)
    return [{**dataset.get_data_info(index), 'scale_factor': (1., 1.)} for index in range(len(dataset))]


def measure_epoch(trainee: Trainee, validation_records: Sequence[dict], evaluate: Callable[[list], float],
                  batch_size: int, n_workers: int, precision: str, device: str) -> EpochTime:
    """Trains one epoch in a random order, then predicts and evaluates the validation images one by one."""
    use_memory_of(trainee.kind)
    begin, cpu_begin = time.perf_counter(), _cpu_seconds()
    order = np.random.default_rng(0).permutation(len(trainee.samples)).tolist()
    trainee.model.train()
    for batch in load(trainee.samples, order, batch_size, n_workers, trainee.collate):
        trainee.train_batch(batch, PartClock())
    trained = time.perf_counter()
    trainee.model.eval()
    samples = test_samples(trainee.kind, validation_records)
    predictions = [image for batch in load(samples, range(len(samples)), 1, n_workers, trainee.collate)
                   for image in predict(trainee, batch, precision, device)]
    ap = evaluate(predictions)
    return EpochTime(trained - begin, time.perf_counter() - trained, _cpu_seconds() - cpu_begin, ap)


def _cpu_seconds() -> float:
    """Returns the seconds that processors spent on this process and on its processes that have ended."""
    return sum(os.times()[:4])


def load(samples: object, order: Iterable[int], batch_size: int, n_workers: int, collate: Callable) -> DataLoader:
    """Returns a loader of samples in an order; the last batch may be smaller."""
    return DataLoader(samples, batch_size=batch_size, sampler=list(order), num_workers=n_workers, collate_fn=collate)


def print_epochs(train_file: Path, val_file: Path, kinds: Sequence[str], n_images: int | None, inputs: Sequence[str],
                 batch_sizes: Sequence[int], n_workers: int, precision: str, device: str, folder: Path) -> None:
    """Measures one epoch per kind, input and batch size, and prints a table for each input and batch size."""
    files = [write_part(train_file, n_images, folder),
             write_part(val_file, None if n_images is None else max(n_images // 4, 1), folder)]
    training, validation = read_records(files[0], False), read_records(files[1], True)
    print(f'{len(training)} training images with {count_cells(training)} cells, {len(validation)} validation images '
          f'with {count_cells(validation)} cells; {torch.get_num_threads()} thread(s), {n_workers} worker(s), '
          f'{precision}')
    for name in inputs:
        for batch_size in batch_sizes:
            times = {}
            for kind in kinds:
                trainee = make_trainee(kind, training, name == 'crops', precision, device)
                evaluate = make_evaluation(kind, files[1])
                times[kind] = measure_epoch(trainee, validation, evaluate, batch_size, n_workers, precision, device)
                print(f'{kind}: {times[kind]}', flush=True)
                del trainee
            print(f'\n### epoch, {name}, batch {batch_size}, {precision}\n\n{format_epochs(times, len(training))}',
                  flush=True)


def count_cells(records: Sequence[dict]) -> int:
    """Returns the number of cells of all images."""
    return sum(len(record['instances']) for record in records)


def format_epochs(times: dict[str, EpochTime], n_images: int) -> str:
    """Returns a Markdown table of epochs; ``n_images`` are trained per epoch."""
    lines = ['| kind | training, s | validation, s | epoch, s | CPU s | trained images/s | epoch / mmcell | training / '
             'mmcell | validation / mmcell | CPU / mmcell |', '| --- |' + ' --- |' * 9]
    for kind, measured in times.items():
        ratios = [f'{getattr(measured, name) / getattr(times["mmcell"], name):.2f}' if 'mmcell' in times else '-'
                  for name in ('whole', 'training', 'validation', 'cpu')]
        lines.append(f'| {kind} | {measured.training:.1f} | {measured.validation:.1f} | {measured.whole:.1f} | '
                     f'{measured.cpu:.1f} | '
                     f'{n_images / measured.training:.3f} | {" | ".join(ratios)} |')
    return '\n'.join(lines)
