"""Converts weights of torchvision's Mask R-CNN (v1, v2, or over ConvNeXt) to a checkpoint for MMDetection's."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """example:
  python tools/convert_torchvision.py maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth --out weights/v2_coco.pth
  python tools/train.py configs/cell/mask-rcnn_r50_tv-v2.py --cfg-options load_from=weights/v2_coco.pth
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', help="state dict of torchvision's, as it publishes them")
    parser.add_argument('--out', required=True, metavar='FILE.pth', help='checkpoint to write')
    parser.add_argument('--frozen-bn-eps', type=float, metavar='EPS',
                        help='what torchvision added to the variances of frozen norms (default: 0 for v1 with 90 '
                             'classes, as it does with its published weights, else 1e-5)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help="also open what torchvision's training script saves: this runs any code in the file; for "
                             'origins you trust')
    args = parser.parse_args()
    if Path(args.out).is_dir():
        parser.error(f'--out {args.out} is a folder, a file expected')
    return args


def main() -> int:
    args = parse_args()
    try:
        convert(args)
    except (ValueError, OSError) as error:
        # Those who read a file name it.
        of_file = '' if str(args.weights) in str(error) else f'{args.weights}: '
        print(f'error: {of_file}{error}', file=sys.stderr)
        return 1
    return 0


def convert(args: argparse.Namespace) -> None:
    import torch

    from mmcell.checkpoints.torchvision_weights import convert_mask_rcnn
    from mmcell.files.whole_files import written_whole
    from mmcell.framework.safe_loading import load_tensors_only, load_trusted
    loaded = (load_trusted if args.trust_checkpoint else load_tensors_only)(args.weights, 'cpu')
    # Where torchvision's training script has it.
    model = loaded.get('model')
    result = convert_mask_rcnn(model if isinstance(model, dict) else loaded, args.frozen_bn_eps)
    with written_whole([args.out]) as [path]:
        torch.save({'state_dict': result.state_dict, 'meta': {'converted_from': Path(args.weights).name}}, path)
    frozen = '' if result.frozen_bn_eps is None else f', frozen norms of epsilon {result.frozen_bn_eps:g}'
    print(f'{args.out}: {result.layout}, {result.n_classes} classes, {len(result.state_dict)} tensors{frozen}')


if __name__ == '__main__':
    sys.exit(main())
