"""Measures how fast samples of configs/_base_/cells.py (crops of 512 px) are loaded, with and without the cache of
decoded images and cells.

The first table shows the milliseconds of processor time per sample in one process, while the cache is being filled and
afterwards. The second table shows how many samples per second a data loader gives: data sets with and without the cache
go through epochs in alternation, in which nothing else is done with the samples. First epochs are compared with each
other; they include the start of the workers. Files are in the memory of the system: an epoch that is not measured reads
them before. Numbers are medians over the rounds, with the range in brackets.
"""

import argparse
import copy
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
from _measure import seconds, time_alternately, use_one_thread
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

import mmcell  # noqa: F401

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'cells.py'
EXAMPLE = """example:
  python benchmarks/loading.py work_dirs/demo/annotations/train.json --workers 0 1 2
"""
PROCESSOR_HEAD = """
| data | image size, Mpx | cells | cache, MiB | ms without cache | ms to fill it | ms with cache | ratio |
| --- | --- | --- | --- | --- | --- | --- | --- |"""
LOADER_HEAD = """
| data | workers | samples/s without cache | samples/s with cache | ratio | time of first epoch, with / without |
| --- | --- | --- | --- | --- | --- |"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('ann_files', nargs='+', metavar='FILE', help='annotation files of data_prep/to_coco.py')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2],
                        help='numbers of workers of the data loader (default: 0 1 2)')
    parser.add_argument('--rounds', type=int, default=3, help='how often the cache is filled anew (default: 3)')
    parser.add_argument('--epochs', type=int, default=3, help='epochs per round after the first one (default: 3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    init_default_scope('mmdet')
    MMLogger.get_instance('mmcell', log_level='ERROR')
    print(f'{os.cpu_count()} cores, one thread per process; {args.rounds} rounds of {1 + args.epochs} epochs')
    print(PROCESSOR_HEAD)
    for ann_file in args.ann_files:
        print(measure_processor(ann_file, args.rounds, args.epochs), flush=True)
    print(LOADER_HEAD)
    for ann_file in args.ann_files:
        for n_workers in args.workers:
            print(measure_loader(ann_file, n_workers, args.rounds, args.epochs), flush=True)


def build(ann_file: str, cache_gib: float | None) -> BaseDataset:
    """Builds the training data of the project's config from an annotation file."""
    config = Config.fromfile(CONFIG).train_dataloader.dataset
    return DATASETS.build({**copy.deepcopy(config), 'ann_file': ann_file, 'cache_gib': cache_gib})


def read_all(dataset: BaseDataset) -> float:
    """Loads each sample once; returns the milliseconds of processor time per sample."""
    start = time.process_time()
    for index in range(len(dataset)):
        dataset[index]
    return (time.process_time() - start) / len(dataset) * 1000


def measure_processor(ann_file: str, rounds: int, epochs: int) -> str:
    """Returns one line of the first table."""
    plain = build(ann_file, 0)
    read_all(plain)
    without, filling, with_cache = [], [], []
    for _ in range(rounds):
        cached = build(ann_file, None)
        filling.append(read_all(cached))
        for _ in range(epochs):
            without.append(read_all(plain))
            with_cache.append(read_all(cached))
    entries = [plain.get_data_info(index) for index in range(len(plain))]
    n_px, n_cells = (np.mean(values) for values in zip(*(
        (entry['height'] * entry['width'], len(entry['instances'])) for entry in entries), strict=True))
    return (f'| {describe_data(ann_file, plain)} | {n_px / 1e6:.2f} | {n_cells:.0f} | '
            f'{cached.decoded.n_bytes / 2 ** 20:.0f} | {describe(np.array(without), ".1f")} | '
            f'{describe(np.array(filling), ".1f")} | {describe(np.array(with_cache), ".1f")} | '
            f'{describe(np.divide(without, with_cache), ".1f")} |')


def describe_data(ann_file: str, dataset: BaseDataset) -> str:
    return f'{Path(ann_file).parent.parent.name}, {len(dataset)} images'


def make_loader(dataset: BaseDataset, n_workers: int) -> DataLoader:
    return DataLoader(dataset, batch_size=2, shuffle=True, num_workers=n_workers, persistent_workers=n_workers > 0,
                      collate_fn=pseudo_collate)


def go_through(loader: DataLoader) -> None:
    for _ in loader:
        pass


def measure_loader(ann_file: str, n_workers: int, rounds: int, epochs: int) -> str:
    """Returns one line of the second table."""
    first, later = [], []
    for _ in range(rounds):
        datasets = [build(ann_file, cache_gib) for cache_gib in (0, None)]
        plain, cached = (partial(go_through, make_loader(dataset, n_workers)) for dataset in datasets)
        first.append((seconds(plain), seconds(cached)))
        later.append(time_alternately(plain, cached, epochs))
    first_plain, first_cached = np.array(first).T
    without, with_cache = (len(datasets[0]) / np.concatenate(times) for times in zip(*later, strict=True))
    return (f'| {describe_data(ann_file, datasets[0])} | {n_workers} | {describe(without, ".0f")} | '
            f'{describe(with_cache, ".0f")} | {describe(with_cache / without, ".1f")} | '
            f'{describe(first_cached / first_plain, ".2f")} |')


def describe(values: np.ndarray, form: str) -> str:
    """Returns the median of values, and their range in brackets."""
    return f'{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})'


if __name__ == '__main__':
    main()
