"""Measures how fast a huge TIFF is read in the overlapping tiles of tools/predict.py.

For each layout and codec, a TIFF of noisy discs is written and read in tiles of 1024 px that overlap by 128 px: without
a plan, so that the tiles and strips of the file that were used last are kept; and with the plan of all tiles that will
be read, so that each tile or strip of the file is decoded once. Each is measured in a process of its own: CPU seconds,
how often a tile or strip is decoded on average, and by how many MiB the memory grows.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import tifffile
from _measure import peak_memory_mib

from mmcell.images.image_file import open_image
from mmcell.images.segment_cache import SegmentCache
from mmcell.tiles.tiling import make_grid

EXAMPLE = """example:
  python benchmarks/tiff_tiles.py --width 45000 --height 1920
"""
LAYOUTS = {'tiles of 256 px': dict(tile=(256, 256)), 'tiles of 512 px': dict(tile=(512, 512)),
           'strips of 16 rows': dict(rowsperstrip=16), 'strips of 512 rows': dict(rowsperstrip=512)}
CODECS = {'LZW': dict(compression='lzw'), 'deflate': dict(compression='zlib', compressionargs={'level': 1}),
          'JPEG': dict(compression='jpeg')}
# A JPEG can have at most this many columns and rows.
MAX_JPEG_PX = 65_535


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--width', type=int, default=45_000, help='width of the image in px (default: 45000)')
    parser.add_argument('--height', type=int, default=1_920, help='height of the image in px (default: 1920)')
    parser.add_argument('--layouts', nargs='+', default=list(LAYOUTS), choices=LAYOUTS, help='default: all')
    parser.add_argument('--codecs', nargs='+', default=list(CODECS), choices=CODECS, help='default: all')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(f'{os.cpu_count()} cores; {args.width} x {args.height} px; without / with the plan')
    print('| layout | codec | CPU seconds | each decoded | MiB |\n| --- | --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'huge.tif'
        for layout in args.layouts:
            for codec in args.codecs:
                if codec == 'JPEG' and 'strips' in layout and args.width > MAX_JPEG_PX:
                    continue
                write(path, args.height, args.width, **LAYOUTS[layout], **CODECS[codec])
                print(measure(layout, codec, path), flush=True)


def write(path: Path, height: int, width: int, **settings) -> None:
    """Writes an RGB image of noisy discs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :2000]
    discs = np.where((y - 20) ** 2 + (x % 40 - 20) ** 2 <= 144, 90, 220)[..., None]
    patch = np.tile(discs, (13, 1, 1)) + rng.integers(-20, 21, (520, 2000, 3))
    image = np.tile(patch.astype(np.uint8), (-(-height // 520), -(-width // 2000), 1))[:height, :width]
    tifffile.imwrite(path, image, photometric='rgb', bigtiff=True, **settings)


def measure(layout: str, codec: str, path: Path) -> str:
    """Returns one line of the table."""
    columns = []
    for is_planned in (False, True):
        numbers = path.with_suffix('.txt')
        mib = peak_memory_mib(prepare, str(path), str(numbers), is_planned)
        columns.append([*map(float, numbers.read_text().split()), mib])
    (seconds, times, mib), (planned_seconds, planned_times, planned_mib) = columns
    return (f'| {layout} | {codec} | {seconds:.1f} / {planned_seconds:.1f} | {times:.1f} / {planned_times:.1f} | '
            f'{mib:.0f} / {planned_mib:.0f} |')


def prepare(path: str, numbers: str, is_planned: bool) -> Callable[[], None]:
    """Returns the work of :func:`read_tiles`."""
    return partial(read_tiles, path, numbers, is_planned)


def read_tiles(path: str, numbers: str, is_planned: bool) -> None:
    """Reads all tiles; writes the CPU seconds, and how often each tile or strip was decoded on average."""
    n_decoded = Counter()
    put = SegmentCache.put

    def counting_put(cache: SegmentCache, index: int, segment: np.ndarray) -> None:
        n_decoded[index] += 1
        put(cache, index, segment)

    start = time.process_time()
    with mock.patch.object(SegmentCache, 'put', counting_put), open_image(path) as image:
        rects = make_grid(image.height, image.width, 1024, 128).input_rects_xyxy.tolist()
        if is_planned:
            image.expect(rects)
        for rect in rects:
            image.read(*rect)
    Path(numbers).write_text(f'{time.process_time() - start} {n_decoded.total() / len(n_decoded)}')


if __name__ == '__main__':
    main()
