"""Trains the model of a config."""

import argparse

from _arguments import add_config_arguments, find_checkpoint, load_config, plain_errors

EXAMPLE = """example:
  python tools/train.py configs/cell/mask-rcnn_r50.py
  python tools/train.py configs/cell/mask-rcnn_r50.py --cfg-options train_cfg.max_epochs=60
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint; without a value, from the latest in the work folder')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (on a GPU)')
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        train(args)


def train(args: argparse.Namespace) -> None:
    cfg = load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else find_checkpoint(args.resume)
    from mmengine.runner import Runner
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
