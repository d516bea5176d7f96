"""Compares two ways to make COCO RLEs from a label map: one pass over its pixels, or one pycocotools call per cell.

Both ways are called in alternation. The table shows their times, the ratio, and whether the RLEs have the same bytes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask
from _scenes import grid_of_discs

from mmcell.images.image_file import read_label_map
from mmcell.masks.rle import encode_label_map

EXAMPLE = """example:
  python benchmarks/label_map_rle.py
  python benchmarks/label_map_rle.py CONSEP/train/train_1/class4.tif
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('maps', nargs='*', type=Path, metavar='MAP',
                        help='label maps (TIFF) to measure in addition to the synthetic one')
    parser.add_argument('--rounds', type=int, default=5, help='how often each way is timed (default: 5)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    maps = {'1024x1024, 961 discs': grid_of_discs(1024, 31)}
    maps.update((f'{path.parent.name}/{path.name}', read_label_map(path)) for path in args.maps)
    print(f"{'label map':32} {'cells':>6} {'pycocotools':>12} {'mmcell':>10} {'ratio':>20}  same bytes")
    for name, label_map in maps.items():
        rounds = [(time_call(encode_each, label_map), time_call(encode_label_map, label_map))
                  for _ in range(args.rounds)]
        same = rounds[0][0][1] == rounds[0][1][1].rles
        theirs, ours = (np.array([pair[i][0] for pair in rounds]) for i in (0, 1))
        ratios = theirs / ours
        spread = f'{np.median(ratios):.0f}x ({ratios.min():.0f}-{ratios.max():.0f})'
        print(f'{name:32} {len(rounds[0][1][1].ids):6} {np.median(theirs) * 1e3:9.1f} ms '
              f'{np.median(ours) * 1e3:7.1f} ms {spread:>20}  {same}')


def encode_each(label_map: np.ndarray) -> list[dict]:
    """Encodes each cell by itself: one mask of the full size and one call of pycocotools per cell."""
    numbers = [number for number in np.unique(label_map) if number]
    rles = [pycocotools.mask.encode(np.asfortranarray(label_map == number)) for number in numbers]
    return [{'size': rle['size'], 'counts': rle['counts'].decode()} for rle in rles]


def time_call(encode: Callable, label_map: np.ndarray) -> tuple[float, object]:
    """Returns the seconds and the result of one call."""
    start = time.perf_counter()
    result = encode(label_map)
    return time.perf_counter() - start, result


if __name__ == '__main__':
    main()
