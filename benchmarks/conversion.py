"""Measures data_prep/to_coco.py, and which share of its time is the reading of the files.

For CoNSeP and for synthetic images, with one process and with two, a line shows the time of the whole command; its time
for one image only, which is spent on starting Python and on importing packages; and the time in which a pool of as many
processes does nothing but read and decode all images and masks once, as the conversion does to check them. The files
are in the memory of the system, because they were read before. Each number is the median of the rounds: seconds on the
clock, and in brackets the seconds of all cores together, which other work on the machine changes less. The share is
one of the latter.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import tifffile
from _measure import seconds

from mmcell.annotations.id_list import TEST_FOLDER
from mmcell.layouts.class_maps import TRAIN_FOLDER

REPO = Path(__file__).resolve().parents[1]
EXAMPLE = """example:
  python benchmarks/conversion.py --consep CONSEP
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--consep', type=Path, metavar='DIR', help='raw folder of CoNSeP (default: not measured)')
    parser.add_argument('--images', type=int, default=2000, help='number of synthetic images (default: 2000)')
    parser.add_argument('--scenes', type=int, default=50,
                        help='number of different synthetic images, of which the others are copies (default: 50)')
    parser.add_argument('--jobs', type=int, nargs='+', default=[1, 2], help='numbers of processes (default: 1 2)')
    parser.add_argument('--rounds', type=int, default=3, help='how often each time is measured (default: 3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(f'{os.cpu_count()} cores; medians of {args.rounds} rounds')
    print('| data | processes | conversion | of this, start | reading only | share of reading in the rest |\n'
          '| --- | --- | --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory() as folder:
        synthetic = Path(folder) / 'synthetic'
        make_images(synthetic, args.images, args.scenes)
        roots = {'CoNSeP': args.consep} if args.consep else {}
        for (name, root), jobs in itertools.product([*roots.items(), ('synthetic', synthetic)], args.jobs):
            print(measure(name, root, jobs, args.rounds, Path(folder)), flush=True)


def make_images(root: Path, n_images: int, n_scenes: int) -> None:
    """Writes synthetic images of about 256 x 256 px with their masks, in the layout of the challenge."""
    subprocess.run([sys.executable, REPO / 'data_prep' / 'make_demo_data.py', root, '--images', str(n_scenes),
                    '--test-images', '1', '--channel-order', 'rgb'], check=True, stdout=subprocess.DEVNULL)
    scenes = sorted((root / TRAIN_FOLDER).iterdir())
    for index in range(n_images - len(scenes)):
        shutil.copytree(scenes[index % len(scenes)], root / TRAIN_FOLDER / f'copy_{index:05d}')


def measure(name: str, root: Path, jobs: int, rounds: int, scratch: Path) -> str:
    """Returns one line of the table."""
    folders = sorted((root / TRAIN_FOLDER).iterdir())
    one = scratch / f'one_{name}'
    if not one.exists():
        shutil.copytree(folders[0], one / TRAIN_FOLDER / folders[0].name)
    paths = [*(path for folder in folders for path in sorted(folder.glob('*.tif'))),
             *sorted((root / TEST_FOLDER).glob('*.tif'))]
    times = [[clock_and_cpu_seconds(work) for work in (
        lambda: convert(root, scratch / 'annotations', jobs), lambda: convert(one, scratch / 'annotations', jobs),
        lambda: read_all(paths, jobs))] for _ in range(rounds)]
    whole, start, reading = medians = np.median(times, axis=0)
    return (f'| {name}: {len(folders)} training images, {len(paths)} files | {jobs} | '
            + ' | '.join(f'{clock:.1f} ({cpu:.1f}) s' for clock, cpu in medians)
            + f' | {reading[1] / (whole[1] - start[1]):.0%} |')


def clock_and_cpu_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the seconds that work takes on the clock, and on all cores, with those of processes that have ended."""
    before = sum(os.times()[:4])
    clock = seconds(work)
    return clock, sum(os.times()[:4]) - before


def convert(root: Path, out: Path, jobs: int) -> None:
    """Calls to_coco.py in a fresh process."""
    subprocess.run([sys.executable, REPO / 'data_prep' / 'to_coco.py', root, '--layout', 'class-maps', '--out', out,
                    '--jobs', str(jobs), '--channel-order', 'rgb', '--val-ratio', '0'], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_all(paths: list[Path], jobs: int) -> None:
    """Reads and decodes files, and drops the pixels."""
    if jobs == 1:
        for path in paths:
            read_file(path)
        return
    with Pool(jobs) as pool:
        for _ in pool.imap(read_file, paths):
            pass
        pool.close()
        pool.join()  # the seconds of a process count when it has ended


def read_file(path: Path) -> None:
    tifffile.imread(path)


if __name__ == '__main__':
    main()
