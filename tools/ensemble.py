"""Fuses the predictions of several models for the same images: boxes by weighted boxes fusion, masks by a mean."""

import argparse
import sys
from math import inf

EXAMPLE = """example:
  python tools/ensemble.py r50.pkl cascade.pkl --out merged.pkl
  python tools/ensemble.py r50.pkl cascade.pkl --weights 1 2 --iou-thr .6 --skip-thr .01 --out merged.pkl
  python tools/submit.py merged.pkl --annotations annotations/test.json --out submission.zip
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', help='files written by tools/test.py --out, one a model')
    parser.add_argument('--out', required=True, metavar='FILE.pkl', help='file to write, of the same kind')
    parser.add_argument('--weights', nargs='+', type=float, metavar='W',
                        help='how much each model counts, in the order of the files (default: all alike)')
    parser.add_argument('--iou-thr', type=float, default=.55,
                        help='boxes of a class that overlap by more are fused (default: .55)')
    parser.add_argument('--skip-thr', type=float, default=0., help='detections below this score are left out')
    args = parser.parse_args()
    if not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out must end with .pkl or .pickle, got {args.out}')
    weights = args.weights or [1.] * len(args.results)
    if len(weights) != len(args.results) or not all(0 < weight < inf for weight in weights):
        parser.error(f'--weights: {len(args.results)} positive numbers, one a file, got {args.weights}')
    for name, value in (('--iou-thr', args.iou_thr), ('--skip-thr', args.skip_thr)):
        if not 0 <= value <= 1:
            parser.error(f'{name} must be from 0 to 1, got {value}')
    return args


def main() -> int:
    args = parse_args()
    from rich.console import Console
    from rich.progress import track

    from mmcell.predictions.dump_file import load_results, save_results
    from mmcell.predictions.ensemble import fuse_results
    try:
        models = [load_results(path) for path in args.results]
        fused = fuse_results(models, args.results, args.weights, args.iou_thr, args.skip_thr)
        merged = list(track(fused, 'ensemble', total=len(models[0]), console=Console(stderr=True)))
        save_results(merged, args.out)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    n_before = sum(len(result['pred_instances']['scores']) for results in models for result in results)
    n_after = sum(len(result['pred_instances']['scores']) for result in merged)
    print(f'wrote {n_after} detections, fused from {n_before}, to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
