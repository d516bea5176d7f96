"""Measures time and memory of tools/predict.py on a whole slide: a pyramid, of which only a part is tissue.

    python benchmarks/slide.py --checkpoint MODEL --images CONSEP/train/*/image.tif
    python benchmarks/slide.py --side 8000         # with a tiny network with random weights

The slide has .25 um per pixel, and the model is taken for one of .5, so that the copy of half the size is read. The
tissue is a disc in the middle; around it is empty glass, which --skip-glass leaves out.

The result is printed as JSON: how long reading, network, seams and writing took (reading goes on beside the others),
and the peak memory.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from huge_image import REPO, TIFF_TILE_PX, corners_of, discs, measure, mib_of, write_checkpoint

MPP = .25


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--side', type=int, default=50_000, help='side of the slide in px (default: 50000)')
    parser.add_argument('--tissue', type=float, default=.2, metavar='SHARE',
                        help='share of the slide that is tissue, up to .78 (default: .2)')
    parser.add_argument('--model-mpp', type=float, default=2 * MPP, metavar='UM',
                        help='micrometres per pixel of the model (default: .5)')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE',
                        help='a trained model, or the folder of its training (default: a tiny one with random weights)')
    parser.add_argument('--images', type=Path, nargs='+', metavar='FILE',
                        help='images whose corners the tissue consists of (default: dark discs)')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch (default: 1)')
    parser.add_argument('--formats', nargs='+', default=['csv', 'geojson'],
                        help='what to write, see tools/predict.py (default: csv geojson)')
    parser.add_argument('--folder', help='where a temporary folder for all files is created (default: the temporary '
                                         'folder of the system)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_slide(folder / 'slide.tif', args.side, args.tissue, corners_of(args.images) if args.images else discs())
        checkpoint = with_scale(args.checkpoint or write_checkpoint(folder / 'tiny.pth'), args.model_mpp,
                                folder / 'model.pth')
        command = [sys.executable, REPO / 'benchmarks' / '_timed_predict.py', folder / 'times.json', checkpoint,
                   folder / 'slide.tif', '--out', folder / 'out', '--formats', *args.formats, '--skip-glass',
                   '--score-thr', .5 if args.checkpoint else 0, '--device', 'cpu']
        measured = measure(list(map(str, command)), args.threads)
        print(json.dumps({'side_px': args.side, 'tissue': args.tissue, 'slide_mib': mib_of(folder / 'slide.tif'),
                          **measured, 'split_seconds': json.loads((folder / 'times.json').read_text()),
                          'written_mib': {path.name: mib_of(path) for path in sorted((folder / 'out').glob('[!.]*'))}}))


def with_scale(checkpoint: Path, mpp: float, path: Path) -> Path:
    """Writes a copy of a checkpoint that says at which scale the model was trained, and returns its path."""
    from mmcell.checkpoints.records import find_checkpoint
    from mmcell.framework.safe_loading import load_tensors_only
    content = load_tensors_only(find_checkpoint(checkpoint), 'cpu')
    content['meta']['dataset_meta']['mpp'] = mpp
    torch.save({'state_dict': content['state_dict'], 'meta': content['meta']}, path)
    return path


def write_slide(path: Path, side: int, tissue: float, patterns: list[np.ndarray]) -> None:
    """Writes a pyramid as a tiled BigTIFF with JPEG: each level has half the side of the one before.

    Args:
        path: The file.
        side: Side of the full resolution in px.
        tissue: Share of the area that shows the patterns; the rest is glass.
        patterns: Tiles (TIFF_TILE_PX, TIFF_TILE_PX, 3) uint8.
    """
    n_levels = 1
    while side >> n_levels >= 1024:
        n_levels += 1
    options = dict(photometric='rgb', tile=(TIFF_TILE_PX, TIFF_TILE_PX), compression='jpeg', dtype=np.uint8,
                   resolutionunit='CENTIMETER', metadata=None)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(n_levels):
            length, per_cm = side >> level, 1e4 / (MPP * 2 ** level)
            tiff.write(tiles_of(length, level, tissue, patterns), shape=(length, length, 3),
                       subifds=n_levels - 1 if level == 0 else None, subfiletype=int(level > 0),
                       resolution=(per_cm, per_cm), **options)


def tiles_of(length: int, level: int, tissue: float, patterns: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the tiles of a level of a slide, row by row: all have the full size, as JPEG wants."""
    small = [pattern.reshape(TIFF_TILE_PX >> level, 1 << level, TIFF_TILE_PX >> level, 1 << level, 3).mean((1, 3))
             .astype(np.uint8) for pattern in patterns]
    glass = np.full((TIFF_TILE_PX, TIFF_TILE_PX, 3), 240, np.uint8)
    n_tiles, n_parts = -(-length // TIFF_TILE_PX), 1 << level
    # The patterns lie in a grid of 512 px of the full resolution, so that all levels show the same.
    radius = (tissue / np.pi) ** .5 * (length << level) / TIFF_TILE_PX
    middle = (length << level) / TIFF_TILE_PX / 2
    for row, column in np.ndindex(n_tiles, n_tiles):
        tile = glass.copy()
        for y, x in np.ndindex(n_parts, n_parts):
            place = row * n_parts + y, column * n_parts + x
            if np.hypot(place[0] + .5 - middle, place[1] + .5 - middle) < radius:
                side = TIFF_TILE_PX >> level
                tile[y * side:(y + 1) * side, x * side:(x + 1) * side] = small[sum(place) % len(small)]
        yield tile


if __name__ == '__main__':
    main()
