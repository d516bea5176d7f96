"""Measures the time and the peak memory of tools/predict.py on a huge image.

    python benchmarks/huge_image.py                # 20,000 x 20,000 px
    python benchmarks/huge_image.py --side 6000    # images with sides of more than 5,000 px are read tile by tile
    python benchmarks/huge_image.py --checkpoint MODEL --images CONSEP/train/*/image.tif --threads 2

Without --checkpoint, the detector is tiny and has random weights, so that reading, joining and writing are measured.

The result is printed as JSON.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch

REPO = Path(__file__).resolve().parents[1]
TIFF_TILE_PX = 512


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--side', type=int, default=20_000, help='side of the square image in px (default: 20000)')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE',
                        help='a trained model, or the folder of its training, which finds the cells with scores of at '
                             'least .5 (default: a tiny one with random weights, all of whose cells count)')
    parser.add_argument('--images', type=Path, nargs='+', metavar='FILE',
                        help=f'images of at least {TIFF_TILE_PX} px, of whose corners the huge image consists '
                             '(default: dark discs)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument('--tile', type=int, default=1024, help='side of a tile in px (default: 1024)')
    parser.add_argument('--overlap', type=int, default=128, help='pixels that neighbouring tiles share (default: 128)')
    parser.add_argument('--formats', nargs='+', default=['labels', 'csv', 'geojson'],
                        help='what to write, see tools/predict.py (default: labels csv geojson)')
    parser.add_argument('--folder',
                        help='where a temporary folder for all files is created (default: the temporary folder of the '
                             'system)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_image(folder / 'huge.tif', args.side, corners_of(args.images) if args.images else discs())
        checkpoint = args.checkpoint or write_checkpoint(folder / 'tiny.pth')
        command = [sys.executable, REPO / 'tools' / 'predict.py', checkpoint, folder / 'huge.tif',
                   '--out', folder / 'out', '--formats', *args.formats, '--tile', args.tile, '--overlap', args.overlap,
                   '--score-thr', .5 if args.checkpoint else 0, '--device', 'cpu']
        print(json.dumps({'side_px': args.side, 'image_mib': mib_of(folder / 'huge.tif'), 'tile_px': args.tile,
                          **measure(list(map(str, command)), args.threads),
                          'written_mib': {path.name: mib_of(path) for path in sorted((folder / 'out').glob('[!.]*'))}}))


def measure(command: list[str], n_threads: int) -> dict:
    """Runs a command with a number of threads, and measures it.

    Returns:
        'said': how many cells it says that it has found, for example "812 cells"; 'seconds'; 'peak_mib': its peak
        memory in MiB.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, 'OMP_NUM_THREADS': str(n_threads)})
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{" ".join(command)} failed')
    peak_mib = usage.ru_maxrss >> (20 if sys.platform == 'darwin' else 10)
    said = next(line for line in output.splitlines() if ' cells in ' in line)
    return {'said': said.split(' in ')[0], 'seconds': round(time.perf_counter() - start, 1),
            'peak_mib': peak_mib}


def mib_of(path: Path) -> float:
    """Returns the size of a file in MiB."""
    return round(path.stat().st_size / 2 ** 20, 1)


def discs() -> list[np.ndarray]:
    """Returns tiles (TIFF_TILE_PX, TIFF_TILE_PX, 3) uint8 of dark discs on a light background with noise."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:TIFF_TILE_PX, :TIFF_TILE_PX]
    inside = (yy % 40 - 20) ** 2 + (xx % 40 - 20) ** 2 <= 12 ** 2
    return [(np.where(inside, 90, 220)[..., None] + rng.integers(-30, 31, (*inside.shape, 3))).astype(np.uint8)
            for _ in range(4)]


def corners_of(paths: list[Path]) -> list[np.ndarray]:
    """Returns the four corners of each image as tiles (TIFF_TILE_PX, TIFF_TILE_PX, 3) uint8, in shuffled order."""
    from mmcell.images.image_file import read_image
    near, far = slice(TIFF_TILE_PX), slice(-TIFF_TILE_PX, None)
    corners = [read_image(path)[rows, columns] for path in paths for rows in (near, far) for columns in (near, far)]
    return [corners[index] for index in np.random.default_rng(0).permutation(len(corners))]


def write_image(path: Path, side: int, patterns: list[np.ndarray]) -> None:
    """Writes a tiled BigTIFF that repeats tiles (TIFF_TILE_PX, TIFF_TILE_PX, 3) uint8, tile by tile."""
    def tiles() -> Iterator[np.ndarray]:
        n_tiles = -(-side // TIFF_TILE_PX)
        for index in range(n_tiles ** 2):
            height, width = (min(side - start * TIFF_TILE_PX, TIFF_TILE_PX) for start in divmod(index, n_tiles))
            yield patterns[index % len(patterns)][:height, :width]

    tifffile.imwrite(path, tiles(), shape=(side, side, 3), dtype=np.uint8, photometric='rgb', bigtiff=True,
                     tile=(TIFF_TILE_PX, TIFF_TILE_PX), compression='zlib', compressionargs={'level': 1})


def write_checkpoint(path: Path) -> Path:
    """Writes a checkpoint of the demo's Mask R-CNN, a quarter as wide, with random weights; 100 detections per tile."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py')
    model = cfg.model
    channels = 16
    model.backbone.update(stem_channels=8, base_channels=8)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=channels)
    model.rpn_head.update(in_channels=channels, feat_channels=channels)
    heads = model.roi_head
    for extractor in (heads.bbox_roi_extractor, heads.mask_roi_extractor):
        extractor.update(out_channels=channels)
    heads.bbox_head.update(in_channels=channels, fc_out_channels=32)
    heads.mask_head.update(in_channels=channels, conv_out_channels=channels)
    model.test_cfg.rpn.update(nms_pre=500, max_per_img=200)
    model.test_cfg.rcnn.update(max_per_img=100)
    torch.manual_seed(0)
    detector = MODELS.build(model)
    detector.init_weights()
    torch.save({'state_dict': detector.state_dict(), 'meta': {'cfg': cfg.pretty_text, 'dataset_meta': {
        'classes': ('1', '2', '3', '4'), 'channel_order': 'rgb'}}}, path)
    return path


if __name__ == '__main__':
    main()
