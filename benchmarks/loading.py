"""Measures how fast a data loader gives the samples of configs/_base_/cells.py (crops of 512 px), with the cache of
decoded images and without it.

For each data set and number of workers, data sets with and without the cache go through epochs in alternation. The
first epoch, in which the cache is filled, is compared with the first epoch without it; both include the start of the
workers. Files are in the memory of the system: an epoch that is not measured reads them before. Numbers are medians
over the rounds, with the range in brackets.
"""

import argparse
import copy
import os
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
HEAD = """| data | workers | without | with cache | ratio | first epoch, with / without | cache |
| --- | --- | --- | --- | --- | --- | --- |"""


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
    print(f'{os.cpu_count()} cores, one thread per process; {args.rounds} rounds of {1 + args.epochs} epochs; samples '
          f'per second\n{HEAD}')
    for ann_file in args.ann_files:
        read_all(build(ann_file, 0))
        for n_workers in args.workers:
            print(measure(ann_file, n_workers, args.rounds, args.epochs), flush=True)


def build(ann_file: str, cache_gib: float | None) -> BaseDataset:
    """Builds the training data of the project's config from an annotation file."""
    config = Config.fromfile(CONFIG).train_dataloader.dataset
    return DATASETS.build({**copy.deepcopy(config), 'ann_file': ann_file, 'cache_gib': cache_gib})


def read_all(dataset: BaseDataset) -> None:
    for index in range(len(dataset)):
        dataset[index]


def make_loader(dataset: BaseDataset, n_workers: int) -> DataLoader:
    return DataLoader(dataset, batch_size=2, shuffle=True, num_workers=n_workers, persistent_workers=n_workers > 0,
                      collate_fn=pseudo_collate)


def go_through(loader: DataLoader) -> None:
    for _ in loader:
        pass


def measure(ann_file: str, n_workers: int, rounds: int, epochs: int) -> str:
    """Returns one line of the table."""
    first, later = [], []
    for _ in range(rounds):
        datasets = [build(ann_file, cache_gib) for cache_gib in (0, None)]
        plain, cached = (make_loader(dataset, n_workers) for dataset in datasets)
        first.append((seconds(lambda loader=plain: go_through(loader)),
                      seconds(lambda loader=cached: go_through(loader))))
        later.append(time_alternately(lambda loader=plain: go_through(loader),
                                      lambda loader=cached: go_through(loader), epochs))
    n_images, decoded = len(datasets[0]), datasets[1].decoded
    without, with_cache = (n_images / np.concatenate(times) for times in zip(*later, strict=True))
    ratio_of_first = np.divide(*np.array(first).T[::-1])
    return (f'| {Path(ann_file).parent.parent.name}, {n_images} images | {n_workers} | {describe(without, ".0f")} | '
            f'{describe(with_cache, ".0f")} | {describe(with_cache / without, ".1f")} | '
            f'{describe(ratio_of_first, ".2f")} | {decoded.n_bytes / 2 ** 20:.0f} MiB |')


def describe(values: np.ndarray, form: str) -> str:
    """Returns the median of values, and their range in brackets."""
    return f'{np.median(values):{form}} ({values.min():{form}} to {values.max():{form}})'


if __name__ == '__main__':
    main()
