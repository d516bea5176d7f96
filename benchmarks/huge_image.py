"""Time and peak memory of predicting a huge image in tiles, with a tiny detector of random weights.

    python benchmarks/huge_image.py                # 20,000 x 20,000
    python benchmarks/huge_image.py --side 5000
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from _measure import use_one_thread
from torch import nn

REPO = Path(__file__).resolve().parents[1]
TIFF_TILE_PX = 512


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--side', type=int, default=20_000, help='of the square image in px (default: 20000)')
    parser.add_argument('--tile', type=int, default=1024, help='side of a tile in px (default: 1024)')
    parser.add_argument('--overlap', type=int, default=128, help='of tiles in px (default: 128)')
    parser.add_argument('--folder', help='where the image and the journal lie for the time (default: a temporary one)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / 'huge.tif'
        write_image(path, args.side)
        print(json.dumps({'side_px': args.side, 'tile_px': args.tile, 'image_mib': path.stat().st_size >> 20,
                          **predict(path, args.tile, args.overlap)}))


def write_image(path: Path, side: int) -> None:
    """A tiled BigTIFF of dark discs on a light ground with noise, written tile by tile."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:TIFF_TILE_PX, :TIFF_TILE_PX]
    inside = (yy % 40 - 20) ** 2 + (xx % 40 - 20) ** 2 <= 12 ** 2
    patterns = [(np.where(inside, 90, 220)[..., None] + rng.integers(-30, 31, (*inside.shape, 3))).astype(np.uint8)
                for _ in range(4)]

    def tiles() -> Iterator[np.ndarray]:
        n_tiles = -(-side // TIFF_TILE_PX)
        for index in range(n_tiles ** 2):
            height, width = (min(side - start * TIFF_TILE_PX, TIFF_TILE_PX) for start in divmod(index, n_tiles))
            yield patterns[index % len(patterns)][:height, :width]

    tifffile.imwrite(path, tiles(), shape=(side, side, 3), dtype=np.uint8, photometric='rgb', bigtiff=True,
                     tile=(TIFF_TILE_PX, TIFF_TILE_PX), compression='zlib', compressionargs={'level': 1})


def tiny_detector() -> nn.Module:
    """The demo's Mask R-CNN, a quarter as wide, with random weights; 100 detections a tile."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    model = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py').model
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
    return detector.eval()


def predict(path: Path, tile_px: int, overlap_px: int) -> dict[str, float]:
    """Seconds, tiles, cells, and MiB of memory before the prediction and at the peak."""
    from mmcell.inference.huge_images import predict_huge_image, progress_of_tiles
    from mmcell.inference.regions import open_regions
    from mmcell.models import TiledDetector
    model = TiledDetector(tiny_detector(), tile_px=tile_px, overlap_px=overlap_px)
    before = peak_mib()
    start = time.perf_counter()
    n_tiles = []
    with open_regions(path) as regions, progress_of_tiles(path.name) as show:
        cells = predict_huge_image(model, regions, path.parent / 'journal',
                                   report=lambda done, total: (show(done, total), n_tiles.append(total)))
        n_cells = sum(map(len, cells))
    return {'tiles': n_tiles[-1], 'cells': n_cells, 'seconds': round(time.perf_counter() - start, 1),
            'peak_before_mib': before, 'peak_mib': peak_mib(),
            'journal_mib': sum(file.stat().st_size for file in (path.parent / 'journal').iterdir()) >> 20}


def peak_mib() -> int:
    """Most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == 'darwin' else 10)


if __name__ == '__main__':
    main()
