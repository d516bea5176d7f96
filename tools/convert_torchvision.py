"""Converts weights of torchvision's Mask R-CNN (v1, v2, or with ConvNeXt) to a checkpoint for MMDetection's models."""

import argparse
import sys
from pathlib import Path

from mmcell.commands.shell import make_parser, run_command
from mmcell.files.early_checks import refuse_missing, refuse_unwritable_files

EXAMPLE = """example:
  python tools/convert_torchvision.py maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth --out weights/v2_coco.pth
  python tools/train.py configs/cell/mask-rcnn_r50_tv-v2.py --cfg-options load_from=weights/v2_coco.pth
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the checkpoint was written')
    parser.add_argument('weights', help='file with the weights (a state dict), as torchvision publishes it')
    parser.add_argument('--out', required=True, metavar='FILE.pth', help='checkpoint to write')
    parser.add_argument('--frozen-bn-eps', type=float, metavar='EPS',
                        help='epsilon that torchvision added to the variances of frozen BatchNorm layers (default: 0 '
                             'for v1 with 90 classes, as torchvision does with its published weights, else 1e-5)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help="also open checkpoints of torchvision's training script. This runs any code that is "
                             'stored in the file: use it only for files whose origin you trust (default: refuse them)')
    args = parser.parse_args()
    if Path(args.out).is_dir():
        parser.error(f'--out must be a file, but {args.out} is a folder')
    return args


def main() -> int:
    return run_command(parse_args, convert)


def convert(args: argparse.Namespace) -> None:
    refuse_missing(args.weights)
    refuse_unwritable_files([args.out], '--out', [args.weights])
    import torch

    from mmcell.checkpoints.torchvision_weights import TorchvisionWeightsError, convert_mask_rcnn
    from mmcell.files.whole_files import written_whole
    from mmcell.framework.safe_loading import load_tensors_only, load_trusted
    loaded = (load_trusted if args.trust_checkpoint else load_tensors_only)(args.weights, 'cpu')
    # torchvision's training script stores the weights under this key.
    model = loaded.get('model')
    try:
        result = convert_mask_rcnn(model if isinstance(model, dict) else loaded, args.frozen_bn_eps)
    except TorchvisionWeightsError as error:
        raise TorchvisionWeightsError(f'{args.weights}: {error}') from error
    with written_whole([args.out]) as [path]:
        torch.save({'state_dict': result.state_dict, 'meta': {'converted_from': Path(args.weights).name}}, path)
    frozen = '' if result.frozen_bn_eps is None else f', frozen BatchNorm with epsilon {result.frozen_bn_eps:g}'
    print(f'{args.out}: {result.layout}, {result.n_classes} classes, {len(result.state_dict)} tensors{frozen}')


if __name__ == '__main__':
    sys.exit(main())
