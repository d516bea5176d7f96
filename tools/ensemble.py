"""Fuses the predictions of several models for the same images into one set of predictions.

Boxes are fused by weighted boxes fusion. A fused mask consists of the pixels that at least half of the masks cover,
where each mask counts with its score times the weight of its model.
"""

import argparse
import sys
from math import inf

from _options import refuse_other_suffix

from mmcell.commands.shell import make_parser, run_command

EXAMPLE = """example:
  python tools/ensemble.py r50.pkl cascade.pkl --out merged.pkl
  python tools/ensemble.py r50.pkl cascade.pkl --weights 1 2 --iou-thr .6 --skip-thr .01 --out merged.pkl
  python tools/submit.py merged.pkl --annotations annotations/test.json --out submission.zip
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the file was written')
    parser.add_argument('results', nargs='+', help='files that tools/test.py --out wrote, one per model')
    parser.add_argument('--out', required=True, metavar='FILE.pkl', help='file to write, in the same format')
    parser.add_argument('--weights', nargs='+', type=float, metavar='W',
                        help='weights of the models, one positive number per file in the same order (default: all 1)')
    parser.add_argument('--iou-thr', type=float, default=.55,
                        help='boxes of the same class are fused if their IoU is greater than this (default: .55)')
    parser.add_argument('--skip-thr', type=float, default=0.,
                        help='leave out detections with a score below this (default: 0)')
    args = parser.parse_intermixed_args()
    refuse_other_suffix(parser, '--out', args.out, '.pkl', '.pickle')
    weights = args.weights or [1.] * len(args.results)
    if len(weights) != len(args.results) or not all(0 < weight < inf for weight in weights):
        parser.error(f'--weights must be {len(args.results)} positive numbers, one per file, got {args.weights}')
    for name, value in (('--iou-thr', args.iou_thr), ('--skip-thr', args.skip_thr)):
        if not 0 <= value <= 1:
            parser.error(f'{name} must be from 0 to 1, got {value}')
    return args


def main() -> int:
    return run_command(parse_args, fuse)


def fuse(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from mmcell.predictions.dump_file import load_results, save_results
    from mmcell.predictions.ensemble import fuse_results
    results_of_models = [load_results(path) for path in args.results]
    unnamed = [path for path, results in zip(args.results, results_of_models, strict=True)
               if len(args.results) > 1 and any(result.get('classes') is None for result in results)]
    if unnamed:
        print(f'note: {", ".join(unnamed)} does not name the classes: label 0, 1 … is taken for the same class in all '
              'files', file=sys.stderr)
    fused = fuse_results(results_of_models, args.results, args.weights, args.iou_thr, args.skip_thr)
    fused = list(track(fused, 'ensemble', total=len(results_of_models[0]), console=Console(stderr=True)))
    save_results(fused, args.out)
    n_before = sum(len(result['pred_instances']['scores']) for results in results_of_models for result in results)
    n_after = sum(len(result['pred_instances']['scores']) for result in fused)
    print(f'wrote {n_after} detections, fused from {n_before}, to {args.out}')


if __name__ == '__main__':
    sys.exit(main())
