"""Finds the cells in images with a trained model, and writes them in formats that other programs open."""

import argparse
import os
import sys
import textwrap
from datetime import timedelta
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from _config import make_folder
from _launch import is_first_process, processes, refuse_wrong_launcher
from _options import (
    add_precision_arguments,
    add_setting_argument,
    add_tile_arguments,
    refuse_wrong_score,
    tile_settings,
)

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import MmcellError, escape
from mmcell.files.early_checks import refuse_unwritable_folder
from mmcell.images.scale import parse_mpp
from mmcell.inference.prediction_plan import DEFAULT_TILE_PX, STREAMED_PX, WHOLE_PX
from mmcell.settings.config_files import refuse_unreadable_config
from mmcell.writers.formats import EDITABLE_FORMATS, FORMATS

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmcell.inference.image_jobs import ImageJob, Outcome

WHOLE, STREAMED = (f'{n_px / 1e6:g} million pixels' for n_px in (WHOLE_PX, STREAMED_PX))
# What the scores of a model mean, for readers who do not know their names; the most telling ones first.
MEANINGS_OF_SCORES = {
    'detection_Jaccard@IoU.50_pooled': 'share of hits among all true and found cells (IoU >= .5: a hit and its true '
                                       'cell have half of their joint area in common)',
    'F1@IoU.50_pooled': 'F1 of these hits: twice their number, divided by the true cells plus the found ones',
    'PQ_pooled': 'panoptic quality: F1 times the mean overlap of hits',
    'PQ_image_mean': 'panoptic quality, averaged over images',
    'AP50': 'average precision of hits over all scores (AP50)',
    'AP50@100': 'average precision of hits among at most 100 cells per image (AP50@100)',
    'AP': 'average precision over the overlaps .50 to .95 (AP)'}
FORMAT_TABLE = '\n'.join(f'  {name:<13} {output_format.description.format("scan")}'
                         for name, output_format in FORMATS.items())
# Arguments on which the results of an image do not depend; and --amp, in whose place the precision is recorded.
NOT_IN_RESULTS = {'images', 'out', 'formats', 'parquet', 'resume', 'tile_batch', 'device', 'launcher',
                  'trust_checkpoint', 'amp'}
EXAMPLE = f"""example:
  python tools/predict.py work_dirs/cell/mask-rcnn_r50 images/ --out cells
  python tools/predict.py model.pth 'slides/**/*.tif' scan.png --out cells --formats geojson csv --mpp 0.25
  python tools/predict.py model.pth stack/ --out cells --percentiles 1 99.8 --classes lymphocyte --drop-border
  python tools/predict.py model.pth slide.svs --out cells --formats geojson --tile 1024 --tta
  python tools/predict.py model.pth images/ --out cells --formats geojson --editable
  torchrun --nproc-per-node 2 tools/predict.py model.pth images/ --out cells --launcher pytorch

formats and the files that they write for scan.tif into the folder --out:
{FORMAT_TABLE}
A cell has the same number in all of them.

Images of more than {WHOLE} are predicted in tiles; with --tta, images of more than {WHOLE} divided by
the number of views. TIFFs of more than {STREAMED} are also read tile by tile, all processes predict them
together, and they get neither overlay nor numbers. If such a run is interrupted, --resume continues with the tiles that
are missing.

The hidden file .scan.json in the folder records from which image file and with which settings the files were made. With
--resume an image is predicted again if its file or a setting has changed. Files of another image are not overwritten.
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'all images were predicted', 'all failed or the run stopped early',
                         'some images failed (they are listed at the end; torchrun turns 2 and 3 into 1)')
    parser.add_argument('--list-models', action=ListModels,
                        help='show the models that mmcell brings, which can be named in place of a checkpoint file, '
                             'and end')
    parser.add_argument('checkpoint', help='checkpoint file; a work folder, of which the best checkpoint is taken, or '
                                           'the latest one if none is marked as best; or the name of a model that '
                                           'mmcell brings')
    parser.add_argument('images', nargs='+', metavar='IMAGE',
                        help='image files, folders (without their subfolders), or patterns in quotes')
    parser.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='folder for the files to write')
    parser.add_argument('--config', metavar='FILE', help='config file (default: the config inside the checkpoint)')
    add_setting_argument(parser, 'model.test_cfg.rcnn.max_per_img=2000')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=['labels', 'csv', 'overlay'],
                        metavar='FORMAT',
                        help=f'what to write: any of {", ".join(FORMATS)} (default: labels csv overlay)')
    parser.add_argument('--editable', action='store_true',
                        help='geojson, geojson-gz: write the cells as annotations of QuPath, whose shape can be edited '
                             'there (default: as detections, which QuPath shows faster)')
    add_image_arguments(parser)
    add_view_arguments(parser)
    add_filter_arguments(parser)
    add_table_arguments(parser)
    parser.add_argument('--resume', action='store_true',
                        help='skip images that an earlier run completed with the same settings, and tiles of large '
                             'images that it completed (default: predict everything)')
    add_precision_arguments(parser)
    parser.add_argument('--device',
                        help='device in the notation of torch, such as cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none',
                        help='pytorch: torchrun started several processes, each of which predicts its share of the '
                             'images (default: none, for a single process)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints that hold more than tensors, numbers and strings, and build any '
                             'class that the config inside names, such as one of your own. This runs any code that is '
                             'stored in the file: use it only for files whose origin you trust (default: refuse them)')
    args = parser.parse_intermixed_args()
    if args.editable and not {*EDITABLE_FORMATS} & {*args.formats}:
        parser.error(f'--editable is about the formats {" and ".join(EDITABLE_FORMATS)}, and --formats names neither')
    refuse_wrong_score(parser, args.score_thr)
    if not 0 < args.neighbours_within < inf:
        parser.error(f'--neighbours-within must be a positive number, got {args.neighbours_within}')
    if args.parquet and 'csv' not in args.formats:
        parser.error('--parquet is about the format csv, which --formats does not name')
    if args.parquet and find_spec('pyarrow') is None:
        parser.error('--parquet needs the package pyarrow: pip install pyarrow')
    if args.min_area < 0:
        parser.error(f'--min-area must not be negative, got {args.min_area}')
    if args.percentiles is not None and not 0 <= args.percentiles[0] < args.percentiles[1] <= 100:
        parser.error(f'--percentiles must be two rising numbers from 0 to 100, got {args.percentiles}')
    return args


class ListModels(argparse.Action):
    """Prints the models that mmcell brings, and ends the command, as ``--help`` does."""

    def __init__(self, option_strings: list[str], dest: str, **options: object) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Prints what each model finds, its scale, scope, scores, data and licence."""
        from mmcell.checkpoints.starters import describe_starters
        models = describe_starters()
        for model in models:
            scale = f', at {model["mpp"]:g} µm per pixel' if model.get('mpp') else ''
            print(f'{model["name"]} finds: {", ".join(model["classes"])}{scale}')
            print_fact(model, 'scope', 'for')
            if scores := model.get('scores', {}):
                print('  how good, on images that it was not trained with (0 is nothing, 1 is perfect):')
            known = [key for key in MEANINGS_OF_SCORES if key in scores]
            for key in [*known, *(key for key in scores if key not in MEANINGS_OF_SCORES)]:
                print(f'    {scores[key]:.3f}  {MEANINGS_OF_SCORES.get(key, key)}')
            print_fact(model, 'data', 'trained with')
            print_fact(model, 'licence', 'licence of the weights')
        parser.exit(message='' if models else 'mmcell brings no models\n')


def print_fact(model: dict, key: str, name: str) -> None:
    if key in model:
        print(textwrap.fill(f'{name}: {model[key]}', 100, initial_indent='  ', subsequent_indent='    '))


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('tables (format csv)')
    group.add_argument('--neighbours-within', type=float, default=20., metavar='UM',
                       help='count the cells whose centroid is at most so many micrometres away, in images with a '
                            'scale (default: 20)')
    group.add_argument('--parquet', action='store_true',
                       help='also write cells.csv and images.csv as Parquet; needs pip install pyarrow (default: do '
                            'not)')


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('images')
    group.add_argument('--channel-order', choices=['rgb', 'bgr'],
                       help='order of the colours in the files; bgr: files that are tagged RGB but hold blue first '
                            '(default: the order of the training images)')
    group.add_argument('--percentiles', nargs=2, type=float, metavar=('LOW', 'HIGH'),
                       help='stretch the contrast of each channel between these two percentiles; try 1 99.8 for '
                            'fluorescence and for 12-bit images (default: as the config says)')
    group.add_argument('--mpp', type=parse_mpp, metavar='UM',
                       help='micrometres per pixel of all images (default: the scale that each TIFF states; if it '
                            'states none, measurements are only in pixels)')
    group.add_argument('--no-rescale', action='store_true',
                       help='predict images as they are (default: enlarge or reduce an image whose scale differs by 10 '
                            '%% or more from that of the training images, if both are known)')


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('tiles and views')
    add_tile_arguments(group, f'the tiles of the config; if it has none, images of up to {WHOLE} are predicted whole, '
                              f'larger ones in tiles of {DEFAULT_TILE_PX} px, with --tta in smaller tiles')
    group.add_argument('--skip-glass', action='store_true',
                       help='in bright-field images that are read tile by tile, leave out tiles that show only empty '
                            'glass: bright and without colour (default: predict all tiles)')
    group.add_argument('--tta', action='store_true',
                       help='test-time augmentation: also predict flipped and turned views, and merge them, as '
                            'tta_model of the config says (default: no views)')


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('which cells are kept')
    group.add_argument('--score-thr', type=float, default=.5, metavar='SCORE', help='lowest score (default: .5)')
    group.add_argument('--classes', nargs='+', metavar='NAME', help='only these classes (default: all)')
    group.add_argument('--allow-overlaps', action='store_true',
                       help='leave cells as they were predicted: they may overlap and lie in pieces (default: each '
                            'pixel belongs to the cell with the highest score, a cell that loses more than half of its '
                            'pixels is left out, and of several pieces the largest is kept)')
    group.add_argument('--min-area', type=int, default=1, metavar='PX', help='smallest area in pixels (default: 1)')
    group.add_argument('--roi', type=Path, metavar='FILE',
                       help='only cells whose centroid lies in a polygon of this GeoJSON file, as QuPath exports it; '
                            'for several images a folder with NAME.geojson or NAME.geojson.gz for each. Large images '
                            'are read only there (default: whole images)')
    group.add_argument('--drop-border', action='store_true',
                       help='leave out cells that touch the border of the image (default: keep them)')


def main() -> int:
    return run_command(parse_args, predict, after_interrupt=': the same command with --resume continues from here')


def predict(args: argparse.Namespace) -> int:
    """Predicts all images, and returns the exit status."""
    from mmcell.checkpoints.records import find_checkpoint
    from mmcell.files.folders import file_problem
    from mmcell.files.output_names import name_outputs
    from mmcell.inference.image_files import find_images
    from mmcell.writers.output_records import recorded_outputs
    refuse_wrong_launcher(args.launcher)
    paths = find_images(args.images, recorded_outputs(),
                        report=lambda line: print(line, file=sys.stderr) if is_first_process() else None)
    problems = {path: file_problem(path) for path in paths}
    images = [(path, name) for path, name in zip(paths, name_outputs(paths), strict=True) if not problems[path]]
    refuse_unwritable_folder(args.out, '--out')
    checkpoint, tiles = find_checkpoint(args.checkpoint), tile_settings(args, DEFAULT_TILE_PX)
    if args.config is not None:
        refuse_unreadable_config(args.config)
    if args.roi is not None and not args.roi.exists():
        raise MmcellError(f'--roi: no such file or folder: {args.roi}')
    make_folder(args.out, '--out')
    if args.device is not None:
        args.device = own_device(args.device)
        refuse_missing_device(args.device)
    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        import mmdet.datasets  # noqa: F401
    from mmcell.inference.call_tables import refuse_foreign_tables
    from mmcell.inference.image_jobs import Outcome
    from mmcell.inference.many_images import predict_images, refuse_to_overwrite
    from mmcell.inference.precision import with_precision
    # A process that has finished its images waits for the others, however long that takes. The processes exchange only
    # outcomes, no tensors, so that gloo is sufficient even with GPUs.
    with processes(args.launcher, timedelta(days=30)) as (rank, n_processes):
        job = make_job(args, checkpoint, tiles, [path for path, _ in images])
        refuse_to_overwrite(images, job)
        if 'csv' in job.formats:
            refuse_foreign_tables(args.out, job.regions is not None, args.parquet)
        job, precision = with_precision(job, args.amp, [path for path, _ in images])
        if rank == 0:
            if note := describe_replaced(images, job):
                print(note, file=sys.stderr)
            print(f'images are read as {job.channel_order} (--channel-order)', file=sys.stderr)
            print(precision.describe(), file=sys.stderr)
            warn_of_swapped_training(job.predictor.config)
            if 'class-labels' in job.formats:
                numbered = (f'class{number} is {name}'
                            for number, name in enumerate(job.predictor.class_names, start=1))
                print(f'class-labels: {", ".join(numbered)}', file=sys.stderr)
        predicted = iter(predict_images(images, job, args.resume, rank, n_processes))
        outcomes = {path: Outcome('failed', message=f'{path}: {problems[path]}') if problems[path] else next(predicted)
                    for path in paths}
        if rank > 0:
            return ExitStatus.DONE
        status = report(outcomes, args.out)
        if 'csv' in args.formats:
            write_tables({path: name for path, name in images if outcomes[path].status != 'failed'}, job, args)
        return status


def describe_replaced(images: list[tuple[Path, str]], job: 'ImageJob') -> str | None:
    """Returns a note on results of other settings in the folder that the job replaces; None if there are none."""
    replaced = {name: changed for _, name in images if (changed := job.changed_options(name))}
    if not replaced:
        return None
    options = dict.fromkeys(option for changed in replaced.values() for option in changed)
    stale = [key for key in FORMATS if key not in job.formats
             and any(path.exists() for name in replaced for path in job.output_paths(name, (key,)))]
    left = f'; their files of the formats {", ".join(stale)} stay as they were, and do not match the new ones'
    return (f'note: the results of {len(replaced)} of {len(images)} images in {escape(job.folder)} were made with '
            f'other settings ({", ".join(options)}), and are replaced{left if stale else ""}')


def write_tables(names: dict[Path, str], job: 'ImageJob', args: argparse.Namespace) -> None:
    """Writes the tables over all images that have outputs, whose names are given by their paths.

    Raises:
        MmcellError: Another process has begun to predict one of the images into the same folder.
    """
    from mmcell.inference.call_tables import write_call_tables
    from mmcell.writers.output_records import read_record
    images = [(name, read_record(args.out, name).get('facts')) for name in names.values()]
    if taken := [name for name, facts in images if facts is None]:
        raise MmcellError(f'{args.out}: another process predicts {escape(taken[0])} into this folder at the same time, '
                          'so that the tables over all images are not written. Wait for its end, and give the command '
                          'with --resume')
    if images:
        written = write_call_tables(args.out, images, job.predictor.class_names, args.parquet)
        print(f'all cells and all images in {" and ".join(path.name for path in written)}')


def make_job(args: argparse.Namespace, checkpoint: str, tiles: dict[str, float], images: list[Path]) -> 'ImageJob':
    """Loads the detector, and returns the job that describes how each image is predicted and written.

    Args:
        args: The parsed command line.
        checkpoint: The checkpoint file.
        tiles: The arguments for ``TiledDetector`` that the command line gives.
        images: The image files.

    Raises:
        MmcellError: A class of --classes is unknown, torch cannot use the device, the tile arguments do not fit the
            config, or :func:`mmcell.inference.detector.load_detector` refuses the checkpoint.
    """
    from mmengine.device import get_device

    from mmcell.framework.freed_memory import keep_freed_memory
    from mmcell.inference.detector import load_detector
    from mmcell.inference.image_jobs import ImageJob
    from mmcell.inference.predictor import Predictor
    from mmcell.models.folding import fold_batch_norm
    regions = None
    if args.roi is not None:
        from mmcell.inference.roi_files import read_rois
        regions = read_rois(args.roi, images)
    keep_freed_memory()
    device = own_device(args.device or get_device())
    refuse_missing_device(device)
    detector = load_detector(checkpoint, args.config, device, args.cfg_options or (), args.trust_checkpoint)
    fold_batch_norm(detector)
    predictor = Predictor(detector, args.tta, **{**tiles, 'tile_px': args.tile})
    names = predictor.class_names
    unknown = set(args.classes or ()) - set(names)
    if unknown:
        raise MmcellError(f'--classes: {sorted(unknown)} unknown; the checkpoint has the classes {names}')
    labels = None if args.classes is None else [names.index(name) for name in args.classes]
    return ImageJob(
        predictor, tuple(dict.fromkeys(args.formats)), args.out, args.channel_order or predictor.channel_order,
        args.percentiles or predictor.percentiles, args.mpp, not args.no_rescale,
        args.neighbours_within,
        filters=dict(min_score=args.score_thr, labels=labels, min_area_px=args.min_area, drop_border=args.drop_border),
        regions=regions, skips_glass=args.skip_glass, is_editable=args.editable, allows_overlaps=args.allow_overlaps,
        settings={'checkpoint': fingerprint(checkpoint), 'config': args.config and fingerprint(args.config),
                  'cfg_options': str(args.cfg_options), 'tta': args.tta},
        options=options_of_results(args, checkpoint))


def options_of_results(args: argparse.Namespace, checkpoint: str) -> dict[str, object]:
    """Returns the options on which results depend, by the names that users know; files are told apart by fingerprints.

    Args:
        args: The parsed command line.
        checkpoint: The checkpoint file.
    """
    files = {'checkpoint': checkpoint, 'config': args.config, 'roi': args.roi and str(args.roi)}
    values = {**vars(args), **{name: path and fingerprint(path) for name, path in files.items()}}
    return {'the model' if name == 'checkpoint' else f'--{name.replace("_", "-")}': value
            for name, value in values.items() if name not in NOT_IN_RESULTS}


def warn_of_swapped_training(config: 'Config') -> None:
    """Prints a warning if the config of a model shows it red and blue swapped, as its training did."""
    from mmcell.datasets.colors import describe_swapped_colors
    description = describe_swapped_colors(config)
    if description is not None:
        print('warning: this model is shown the same colours as in its training, but they are wrong: '
              f'{description}', file=sys.stderr)


def own_device(device: str) -> str:
    """Returns the device of this process: of several GPUs, each of several processes on a machine has its own."""
    return f'cuda:{os.environ.get("LOCAL_RANK", 0)}' if device == 'cuda' else device


def refuse_missing_device(device: str) -> None:
    """Creates a tensor on the device, to find out at once whether torch can use it.

    Raises:
        MmcellError: torch cannot use the device.
    """
    import torch
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise MmcellError(f'--device {device}: {str(error).splitlines()[0]}') from error


def fingerprint(path: str) -> list:
    """Returns name, size and time of a file, which differ between its versions; for a URL only the name."""
    status = Path(path).stat() if Path(path).exists() else None
    return [Path(path).name, *([] if status is None else [status.st_size, status.st_mtime])]


def report(outcomes: dict[Path, 'Outcome'], folder: Path) -> int:
    """Prints what was written, then notes, then the images that failed; returns the exit status.

    Args:
        outcomes: The outcome of each image file.
        folder: The folder that was written to.
    """
    done, skipped, failed = ({path: outcome for path, outcome in outcomes.items() if outcome.status == status}
                             for status in ('done', 'skipped', 'failed'))
    print(f'{sum(outcome.n_cells for outcome in done.values())} cells in {len(done)} images written to {escape(folder)}'
          + (f'; {len(skipped)} images were done before' if skipped else ''))
    # Each note is printed once, with the first image that it concerns.
    for note in dict.fromkeys(note for outcome in done.values() for note in outcome.notes):
        noted = [path for path, outcome in done.items() if note in outcome.notes]
        others = f' and {len(noted) - 1} more' if len(noted) > 1 else ''
        print(f'note: {escape(noted[0])}{others}: {note}', file=sys.stderr)
    if not failed:
        return 0
    print(f'error: {len(failed)} of {len(outcomes)} images could not be done:', file=sys.stderr)
    for outcome in failed.values():
        print(f'  {escape(outcome.message)}', file=sys.stderr)
    return ExitStatus.PARTLY if len(failed) < len(outcomes) else ExitStatus.FAILED


if __name__ == '__main__':
    sys.exit(main())
