"""Fuses the predictions of several models for the same images, or joins the predictions of folds for different images.

Boxes are fused by weighted boxes fusion. A fused mask consists of the pixels that at least half of the masks cover,
where each mask counts with its score times the weight of its model. Of a work folder, the checkpoint predicts the test
images first, and the predictions are kept in the folder. Trainings that differ only in the fold that they held out
count as one model: together they weigh as much as one other model.

With --join, nothing is fused: each image is taken from the one file that has it. Five files of a cross-validation, each
with the predictions for the fold that its model has not seen, become the out-of-fold predictions of all images.
"""

import argparse
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from _options import refuse_other_suffix

from mmcell.commands.shell import make_parser, run_command
from mmcell.files.early_checks import refuse_missing, refuse_missing_annotations, refuse_unwritable_files

if TYPE_CHECKING:
    from _work_folders import FolderModel

EXAMPLE = """example:
  python tools/ensemble.py r50.pkl cascade.pkl --out merged.pkl
  python tools/ensemble.py r50.pkl cascade.pkl --weights 1 2 --iou-thr .6 --skip-thr .01 --out merged.pkl
  python tools/ensemble.py work_dirs/cell/mask-rcnn_r50_fold* --out merged.pkl
  python tools/ensemble.py fold*.pkl --join annotations/trainval.json --out out-of-fold.pkl
  python tools/submit.py merged.pkl --annotations annotations/test.json --out submission.zip
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the file was written')
    parser.add_argument('results', nargs='+', type=Path, metavar='FILE_OR_FOLDER',
                        help='files that tools/test.py --out wrote, one per model, or work folders. The best '
                             'checkpoint of a work folder predicts the images, and the predictions are kept in the '
                             'folder, for example as test.pkl; they are made again only for another checkpoint or '
                             'other annotations')
    parser.add_argument('--out', required=True, metavar='FILE.pkl', help='file to write, in the same format')
    parser.add_argument('--join', type=Path, metavar='ANNOTATIONS',
                        help='join files that hold different images; this annotation file says which images there must '
                             'be, each in one file (default: fuse files that hold the same images)')
    parser.add_argument('--annotations', type=Path, metavar='FILE',
                        help='annotation file of the images that work folders predict (default: that of the test '
                             'images in the config of each checkpoint)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints of work folders that hold more than tensors, numbers and strings, '
                             'and use any class that their configs name. This can run any code that is stored in the '
                             'files: use it only for files whose origin you trust (default: refuse them)')
    parser.add_argument('--weights', nargs='+', type=float, metavar='W',
                        help='weights of the models, one positive number per file or folder in the same order '
                             '(default: 1; for k work folders with folds of the same training, 1/k each)')
    parser.add_argument('--iou-thr', type=float, default=.55,
                        help='boxes of the same class are fused if their IoU is greater than this (default: .55)')
    parser.add_argument('--skip-thr', type=float, default=0.,
                        help='leave out detections with a score below this (default: 0)')
    parser.add_argument('--mask-nms', type=float, metavar='IOU',
                        help='after the fusion, leave out each detection whose mask has a greater IoU than this with '
                             'the mask of a detection of a higher score (default: keep them)')
    parser.add_argument('--class-agnostic', action='store_true',
                        help='with --mask-nms, also compare detections of different classes, so that each cell keeps '
                             'one class (default: compare only within a class)')
    args = parser.parse_intermixed_args()
    refuse_other_suffix(parser, '--out', args.out, '.pkl', '.pickle')
    weights = args.weights or [1.] * len(args.results)
    if len(weights) != len(args.results) or not all(0 < weight < inf for weight in weights):
        parser.error(f'--weights must be {len(args.results)} positive numbers, one per file or folder, got '
                     f'{args.weights}')
    folders = [path for path in args.results if path.is_dir()]
    if args.join and (args.weights or args.annotations or folders):
        parser.error('--join takes files only, and neither --weights nor --annotations: images are taken as they are')
    if args.annotations and not folders:
        parser.error('--annotations is for work folders, but only files were given')
    if args.mask_nms is None and args.class_agnostic:
        parser.error('--class-agnostic is for --mask-nms, which was not given')
    if args.join and args.mask_nms is not None:
        parser.error('--mask-nms is for fused predictions: it cannot be given with --join')
    for name, value in (('--iou-thr', args.iou_thr), ('--skip-thr', args.skip_thr), ('--mask-nms', args.mask_nms)):
        if value is not None and not 0 <= value <= 1:
            parser.error(f'{name} must be from 0 to 1, got {value}')
    return args


def main() -> int:
    return run_command(parse_args, join_or_fuse)


def join_or_fuse(args: argparse.Namespace) -> None:
    refuse_missing(*args.results)
    refuse_missing_annotations(args.join, args.annotations)
    refuse_unwritable_files([args.out], '--out', [*args.results, args.join, args.annotations])
    if args.join:
        from mmcell.predictions.folds import gather_folds
        print(f'wrote the predictions of {gather_folds(args.results, args.join, args.out)} images, joined from '
              f'{len(args.results)} files, to {args.out}')
        return
    models = predict_folders(args)
    if args.weights is None:
        from _work_folders import share_weights
        args.weights = share_weights(models)
    fuse(args, [str(path if model is None else model.dump) for path, model in zip(args.results, models, strict=True)])


def predict_folders(args: argparse.Namespace) -> list['FolderModel | None']:
    """Predicts the images with each work folder; returns the model of each folder, and None for each file."""
    folders = [path for path in args.results if path.is_dir()]
    if not folders:
        return [None] * len(args.results)
    from mmcell.checkpoints.records import find_checkpoint
    for folder in folders:
        find_checkpoint(folder)
    from _work_folders import predict, read_models

    from mmcell.framework.console import without_onedl_notice
    with without_onedl_notice():
        models = dict(zip(folders, read_models(folders, args.annotations, args.trust_checkpoint), strict=True))
    for number, model in enumerate(models.values(), 1):
        title = f'[{number}/{len(models)}] {model.dump}: {model.annotations} with {model.checkpoint.name}'
        print(title, flush=True)
        if not predict(model, args.trust_checkpoint):
            print('    is there already')
    return [models.get(path) for path in args.results]


def fuse(args: argparse.Namespace, paths: list[str]) -> None:
    """Fuses dumps with the weights of the command line, and writes the result."""
    from rich.console import Console
    from rich.progress import track

    from mmcell.masks.suppression import MaskNMS
    from mmcell.predictions.dump_file import load_results, save_results
    from mmcell.predictions.ensemble import fuse_results
    results_of_models = [load_results(path) for path in paths]
    unnamed = [path for path, results in zip(paths, results_of_models, strict=True)
               if len(paths) > 1 and any(result.get('classes') is None for result in results)]
    if unnamed:
        print(f'note: {", ".join(unnamed)} does not name the classes: label 0, 1 … is taken for the same class in all '
              'files', file=sys.stderr)
    mask_nms = None if args.mask_nms is None else MaskNMS(args.mask_nms, args.class_agnostic)
    fused = fuse_results(results_of_models, paths, args.weights, args.iou_thr, args.skip_thr, mask_nms)
    fused = list(track(fused, 'ensemble', total=len(results_of_models[0]), console=Console(stderr=True)))
    save_results(fused, args.out)
    n_before = sum(len(result['pred_instances']['scores']) for results in results_of_models for result in results)
    n_after = sum(len(result['pred_instances']['scores']) for result in fused)
    print(f'wrote {n_after} detections, fused from {n_before}, to {args.out}')


if __name__ == '__main__':
    sys.exit(main())
