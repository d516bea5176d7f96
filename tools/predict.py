"""Finds the cells in images, and writes them in formats that other tools open."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from _arguments import (
    DictAction,
    add_tile_arguments,
    find_checkpoint,
    make_folder,
    plain_errors,
    refuse_wrong_launcher,
    tile_settings,
)

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from torch import nn

    from mmcell.inference.image_jobs import ImageJob, ImageSummary
    from mmcell.models import TiledDetector

EXAMPLE = """example:
  python tools/predict.py work_dirs/mask-rcnn_r50 images/ --out cells
  python tools/predict.py model.pth 'slides/**/*.tif' scan.png --out cells --formats geojson csv --mpp 0.25
  python tools/predict.py model.pth stack/ --out cells --percentiles 1 99.8 --classes lymphocyte --drop-border
  python tools/predict.py model.pth slide.svs --out cells --formats geojson --tile 1024 --tta
  torchrun --nproc-per-node 2 tools/predict.py model.pth images/ --out cells --launcher pytorch

Of image.tif in the folder OUT: labels: image_labels.tif, a label map, with image_labels.csv, its class table;
class-labels: image_class1.tif …; geojson: image.geojson for QuPath; rois: image_rois.zip for ImageJ and Fiji; coco:
image_coco.json; csv: image_cells.csv, measurements; overlay: image_overlay.png. A cell has one number in all of them.

Images of more than 4 million pixels (with --tta: divided by the number of views) are predicted in tiles. TIFFs of more
than 25 million are read tile by tile, too, and predicted by all processes together; there is no overlay of them.
--resume goes on with the tiles that an interrupted run did.

OUT/.image.json notes from which file and with which settings the files were made: --resume does images again where
one of them is another now, and files of another image are never overwritten.

Exit status 3: some images could not be done; they are listed at the end. 1: nothing could be done. (torchrun makes 1 of
each.)
"""
FORMATS = ('labels', 'class-labels', 'geojson', 'rois', 'coco', 'csv', 'overlay')
SOME_FAILED = 3
DEFAULT_TILE_PX = 1024


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='checkpoint file, or a work folder: its best checkpoint, else its latest')
    parser.add_argument('images', nargs='+', help='files, folders (the images right in them) and quoted patterns')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='folder for the files')
    parser.add_argument('--config', help='config file (default: the one inside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that override the config, for example model.test_cfg.rcnn.max_per_img=2000')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=['labels', 'csv', 'overlay'],
                        metavar='FORMAT', help=f'any of {", ".join(FORMATS)} (default: labels csv overlay)')
    add_image_arguments(parser)
    add_view_arguments(parser)
    add_filter_arguments(parser)
    parser.add_argument('--resume', action='store_true',
                        help='leave out images that were done with the same settings, and tiles of large images that '
                             'are done')
    parser.add_argument('--device', help='as torch names it (default: a GPU where there is one)')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none',
                        help='pytorch: started by torchrun, each process does its share of the images')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints that hold more than tensors, numbers and strings, or a config '
                             'that names code of other packages: this runs any code in the file')
    args = parser.parse_args()
    if args.mpp is not None and not 0 < args.mpp < inf:
        parser.error(f'--mpp must be positive, got {args.mpp}')
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr must be from 0 to 1, got {args.score_thr}')
    if args.min_area < 0:
        parser.error(f'--min-area must not be negative, got {args.min_area}')
    if args.percentiles is not None and not 0 <= args.percentiles[0] < args.percentiles[1] <= 100:
        parser.error(f'--percentiles must rise from 0 to 100, got {args.percentiles}')
    return args


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('images')
    group.add_argument('--channel-order', choices=['rgb', 'bgr'],
                       help='bgr: the files say RGB but hold blue first (default: as the images of the training)')
    group.add_argument('--percentiles', nargs=2, type=float, metavar=('LOW', 'HIGH'),
                       help='stretch the contrast of each channel between these, for fluorescence and 12-bit images: '
                            '1 99.8 (default: as in the config)')
    group.add_argument('--mpp', type=float, metavar='UM',
                       help='micrometres a pixel (default: what a TIFF says; without either there are pixels alone)')


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('tiles and views')
    add_tile_arguments(group, f'images of up to 4 million pixels whole, larger ones in tiles of {DEFAULT_TILE_PX}')
    group.add_argument('--tta', action='store_true',
                       help="predict flipped and turned views, too, and merge them, as the config's tta_model says")


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('which cells are kept')
    group.add_argument('--score-thr', type=float, default=.5, help='least score (default: .5)')
    group.add_argument('--classes', nargs='+', metavar='NAME', help='these classes alone (default: all)')
    group.add_argument('--min-area', type=int, default=1, metavar='PX', help='least area in pixels (default: 1)')
    group.add_argument('--drop-border', action='store_true', help='leave out cells that touch the border of the image')


def main() -> int:
    args = parse_args()
    try:
        with plain_errors():
            return predict(args)
    except KeyboardInterrupt:
        sys.exit('interrupted: --resume goes on from here')


def predict(args: argparse.Namespace) -> int:
    """Does all images; gives the exit status."""
    from mmcell.inference.image_files import find_images, name_outputs
    from mmcell.inference.image_records import recorded_outputs
    refuse_wrong_launcher(args.launcher)
    paths = find_images(args.images, skip=recorded_outputs())
    images = list(zip(paths, name_outputs(paths), strict=True))
    make_folder(args.out, '--out')
    from mmcell.inference.many_images import predict_images, refuse_to_overwrite
    with processes(args.launcher) as (rank, n_processes):
        job = make_job(args)
        refuse_to_overwrite(images, job)
        if rank == 0:
            print(f'images are read as {job.channel_order} (--channel-order)', file=sys.stderr)
        outcomes = predict_images(images, job, args.resume, rank, n_processes)
        return report(outcomes, paths, args.out) if rank == 0 else 0


def make_job(args: argparse.Namespace) -> 'ImageJob':
    """Loads the detector.

    Raises:
        MmcellError: an unknown class, or a device that is not there; and as
            :func:`mmcell.inference.detector.load_detector`.
    """
    from mmengine.device import get_device

    from mmcell.inference.detector import ImagePredictor, add_views, load_detector
    from mmcell.inference.image_jobs import ImageJob
    device = args.device or get_device()
    if device == 'cuda':
        device = f'cuda:{os.environ.get("LOCAL_RANK", 0)}'
    checkpoint = find_checkpoint(args.checkpoint)
    refuse_missing_device(device)
    detector = load_detector(checkpoint, args.config, device, args.cfg_options, args.trust_checkpoint)
    if args.tta:
        detector = add_views(detector)
    tiled = tile(detector, args)
    predictor = ImagePredictor(detector if args.tile is None else tiled)
    names = list(detector.dataset_meta['classes'])
    unknown = set(args.classes or ()) - set(names)
    if unknown:
        raise MmcellError(f'--classes {sorted(unknown)} unknown; the checkpoint has {names}')
    labels = None if args.classes is None else [names.index(name) for name in args.classes]
    return ImageJob(
        predict=predictor, tiled=tiled, class_names=names, formats=list(dict.fromkeys(args.formats)), folder=args.out,
        channel_order=args.channel_order or detector.dataset_meta['channel_order'],
        percentiles=args.percentiles or predictor.percentiles, mpp=args.mpp,
        filters=dict(min_score=args.score_thr, labels=labels, min_area_px=args.min_area, drop_border=args.drop_border),
        settings={'checkpoint': fingerprint(checkpoint), 'config': args.config and fingerprint(args.config),
                  'cfg_options': str(args.cfg_options), 'tta': args.tta})


def refuse_missing_device(device: str) -> None:
    """Tries the device.

    Raises:
        MmcellError: torch cannot use it.
    """
    import torch
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise MmcellError(f'--device {device}: {str(error).splitlines()[0]}') from error


def tile(detector: 'nn.Module', args: argparse.Namespace) -> 'TiledDetector':
    """The detector in the tiles of the command line; without --tile those of the config, where it has any.

    Raises:
        MmcellError: sizes that do not fit.
    """
    from mmcell.inference.detector import add_tiles
    from mmcell.inference.image_jobs import WHOLE_PX, n_views
    from mmcell.models import TiledDetector
    if args.tile is None and isinstance(detector, TiledDetector):
        # Refuses options of tiles without --tile.
        tile_settings(args)
        return detector
    # Views of a tile are held together.
    side_px = int((WHOLE_PX / n_views(detector)) ** .5) // 32 * 32
    return add_tiles(detector, **tile_settings(args, min(DEFAULT_TILE_PX, side_px)))


def fingerprint(path: str) -> list:
    """What tells a file from its other versions: name, size and time; of a URL the name alone."""
    status = Path(path).stat() if Path(path).exists() else None
    return [Path(path).name, *([] if status is None else [status.st_size, status.st_mtime])]


@contextmanager
def processes(launcher: str) -> Iterator[tuple[int, int]]:
    """Gives the number of this process and how many there are."""
    if launcher == 'none':
        yield 0, 1
        return
    from torch import distributed
    # Outcomes alone are exchanged, so that gloo does for GPUs, too; who is done early waits for the others.
    distributed.init_process_group('gloo', timeout=timedelta(days=30))
    yield distributed.get_rank(), distributed.get_world_size()
    distributed.barrier()
    distributed.destroy_process_group()


def report(outcomes: list['ImageSummary | str | None'], paths: list[Path], folder: Path) -> int:
    """Says what was done, then lists the images that failed; gives the exit status."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, str)]
    done = {path: outcome for path, outcome in zip(paths, outcomes, strict=True)
            if outcome is not None and not isinstance(outcome, str)}
    n_there = outcomes.count(None)
    print(f'{sum(one.n_cells for one in done.values())} cells in {len(done)} images written to {folder}'
          + (f'; {n_there} images were done before' if n_there else ''))
    for note in dict.fromkeys(note for one in done.values() for note in one.notes):
        about = [str(path) for path, one in done.items() if note in one.notes]
        others = f' and {len(about) - 1} more' if len(about) > 1 else ''
        print(f'note: {about[0]}{others}: {note}', file=sys.stderr)
    if not failed:
        return 0
    print(f'error: {len(failed)} of {len(outcomes)} images could not be done:', file=sys.stderr)
    for message in failed:
        print(f'  {message}', file=sys.stderr)
    return SOME_FAILED if len(failed) < len(outcomes) else 1


if __name__ == '__main__':
    sys.exit(main())
