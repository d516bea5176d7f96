"""Trains the model of a config."""

import argparse
import sys
from pathlib import Path

from _arguments import add_config_arguments, load_config, plain_errors, processes, stop_workers
from mmengine.config import Config

from mmcell.errors import MmcellError

EXAMPLE = """example:
  python tools/train.py configs/cell/mask-rcnn_r50.py
  python tools/train.py configs/cell/mask-rcnn_r50.py --cfg-options train_cfg.max_epochs=60
  torchrun --nproc-per-node 2 tools/train.py configs/cell/mask-rcnn_r50.py --launcher pytorch
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint, or from the newest whole one of this work folder; without a '
                             'value, of the work folder of the run, or from the start where it has none')
    parser.add_argument('--amp', action='store_true',
                        help='automatic mixed precision: on a GPU float16 with a scaled loss (bfloat16 with '
                             '--cfg-options optim_wrapper.dtype=bfloat16), on the CPU bfloat16')
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        train(args)


def train(args: argparse.Namespace) -> None:
    cfg = load_config(args)
    if args.amp:
        use_mixed_precision(cfg)
    if args.resume is not None:
        resume(cfg, args.resume)
    from mmcell.framework.console import ConsoleRunner
    with processes(cfg):
        runner = ConsoleRunner.from_cfg(cfg)
        runner.train()
        stop_workers(runner)
        del runner


def use_mixed_precision(cfg: Config) -> None:
    known = ('OptimWrapper', 'AmpOptimWrapper', 'MixedPrecisionOptimWrapper')
    if cfg.optim_wrapper.get('type', 'OptimWrapper') not in known:
        raise MmcellError(f'--amp works with optim_wrapper of type {", ".join(known)}, not {cfg.optim_wrapper.type}')
    cfg.optim_wrapper.type = known[-1]


def resume(cfg: Config, value: str) -> None:
    """Sets the checkpoint to go on from; ``value`` is a file, a work folder, or 'auto' for cfg's own folder."""
    from mmcell.checkpoints.weights import find_newest_whole
    folder = cfg.work_dir if value == 'auto' else value
    if not Path(folder).exists() and '://' not in folder:
        raise MmcellError(f'--resume: no checkpoint or work folder {folder}')
    checkpoint = folder
    if value == 'auto' or Path(value).is_dir():
        checkpoint = find_newest_whole(folder)
    if checkpoint is None and value != 'auto':
        raise MmcellError(f'{folder} holds no whole checkpoint epoch_*.pth or iter_*.pth')
    if checkpoint is None:
        print(f'--resume: {folder} holds no checkpoint, the training starts from the beginning', file=sys.stderr)
        return
    cfg.resume, cfg.load_from = True, str(checkpoint)


if __name__ == '__main__':
    main()
