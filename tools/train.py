"""Trains the model that a config describes, and writes logs and checkpoints to a work folder."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from _config import check_config_arguments, load_config
from _launch import processes, stop_workers, use_gloo_without_gpu
from _options import add_config_arguments

from mmcell.commands.shell import ExitStatus, make_parser, run_command
from mmcell.errors import MmcellError
from mmcell.files.locks import working_alone

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLE = """example:
  python tools/train.py configs/cell/mask-rcnn_r50.py
  python tools/train.py configs/cell/mask-rcnn_r50.py --cfg-options train_cfg.max_epochs=60
  python tools/train.py configs/cell/mask-rcnn_r50.py --resume
  torchrun --nproc-per-node 2 tools/train.py configs/cell/mask-rcnn_r50.py --launcher pytorch
"""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the training came to its end',
                         'it could not start or stopped with an error',
                         'it was asked to stop by the signal SIGTERM or SIGUSR2')
    parser.add_argument('config', help='config file of the experiment')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='continue the training of a checkpoint: of the file CHECKPOINT, or of the newest complete '
                             'epoch_*.pth or iter_*.pth in the folder CHECKPOINT. Without a value: of the newest one '
                             'in the work folder, or from the start if it holds none (default: from the start)')
    parser.add_argument('--amp', action='store_true',
                        help='train with automatic mixed precision: on a GPU float16 with a scaled loss (or bfloat16 '
                             'with --cfg-options optim_wrapper.dtype=bfloat16), on the CPU bfloat16 (default: the '
                             'precision that optim_wrapper of the config sets)')
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> int:
    return run_command(parse_args, train, after_interrupt=': the same command with --resume continues from the newest '
                                                          'checkpoint, if there is one')


def train(args: argparse.Namespace) -> int:
    check_config_arguments(args)
    refuse_wrong_resume(args.resume)
    from mmcell.framework.safe_loading import trusting_checkpoints
    with trusting_checkpoints(args.trust_checkpoint):
        cfg = load_config(args)
        if args.amp:
            use_mixed_precision(cfg)
        if args.resume is not None:
            resume(cfg, args.resume)
        refuse_used_folder(cfg)
        from mmcell.visualization.trackers import refuse_unusable_trackers
        refuse_unusable_trackers(cfg.to_dict())
        from mmcell.framework.console import ConsoleRunner
        with processes(use_gloo_without_gpu(cfg)) as (rank, _):
            runner = ConsoleRunner.from_cfg(cfg)
            from mmcell.hooks.stopping import TrainingStoppedError
            status = ExitStatus.DONE
            try:
                with working_alone(runner.work_dir, 'training') if rank == 0 else nullcontext():
                    runner.train()
            except TrainingStoppedError as stopped:
                print(stopped, file=sys.stderr)
                status = ExitStatus.PARTLY
            stop_workers(runner)
            del runner
    return status


def use_mixed_precision(cfg: 'Config') -> None:
    """Replaces the config's optimizer wrapper by mmcell's wrapper for mixed precision.

    Raises:
        MmcellError: The config's wrapper is neither MMEngine's ``OptimWrapper`` or ``AmpOptimWrapper`` nor mmcell's.
    """
    replaceable = ('OptimWrapper', 'AmpOptimWrapper', 'MixedPrecisionOptimWrapper')
    if cfg.optim_wrapper.get('type', 'OptimWrapper') not in replaceable:
        raise MmcellError(f'--amp works only with an optim_wrapper of type {", ".join(replaceable)}; the config has '
                          f'{cfg.optim_wrapper.type}')
    cfg.optim_wrapper.type = replaceable[-1]


def refuse_wrong_resume(value: str | None) -> None:
    """Stops at a wrong --resume, as far as the names of files show it.

    Raises:
        MmcellError: The file or folder does not exist, or no file in the folder has the name of a checkpoint.
    """
    if value in (None, 'auto') or '://' in value:
        return
    if not Path(value).exists():
        raise MmcellError(f'--resume: there is no checkpoint or work folder {value}')
    if Path(value).is_dir() and not _named_checkpoints(value):
        raise MmcellError(f'--resume: the folder {value} holds no complete checkpoint epoch_*.pth or iter_*.pth')


def _named_checkpoints(folder: str) -> list[str]:
    return sorted(path.name for kind in ('epoch', 'iter') for path in Path(folder).glob(f'{kind}_*.pth'))


def resume(cfg: 'Config', value: str) -> None:
    """Sets the checkpoint that the training continues from.

    Args:
        cfg: The config, which is changed. It stays as it is, with a message, if ``value`` is 'auto' and there is no
            checkpoint yet.
        value: A checkpoint file, a URL, a work folder, or 'auto' for the work folder of ``cfg``.

    Raises:
        MmcellError: The file or folder does not exist, the folder ``value`` holds no complete checkpoint, or the work
            folder holds only damaged ones.
    """
    from mmcell.checkpoints.records import find_newest_complete
    refuse_wrong_resume(value)
    folder = cfg.work_dir if value == 'auto' else value
    checkpoint = folder
    if value == 'auto' or Path(value).is_dir():
        checkpoint = find_newest_complete(folder)
    if checkpoint is None and value != 'auto':
        raise MmcellError(f'--resume: the folder {folder} holds no complete checkpoint epoch_*.pth or iter_*.pth')
    if checkpoint is None and (damaged := _named_checkpoints(folder)):
        raise MmcellError(f'--resume: no checkpoint in {folder} is complete ({", ".join(damaged)}), so the training '
                          'cannot be continued. Name another checkpoint with --resume FILE, or start again: move these '
                          'files away, or train in another folder with --work-dir FOLDER without --resume')
    if checkpoint is None:
        print(f'--resume: {folder} holds no checkpoint, so the training starts from the beginning', file=sys.stderr)
        return
    cfg.resume, cfg.load_from = True, str(checkpoint)


def refuse_used_folder(cfg: 'Config') -> None:
    """Stops before the work folder is touched, if it holds another training.

    Raises:
        MmcellError: The folder holds the checkpoints of a training with other settings, or of another training than
            the checkpoint to resume from.
    """
    from mmcell.checkpoints.records import read_record, read_records
    from mmcell.checkpoints.runs import refuse_other_run, refuse_resuming_elsewhere
    records = read_records(cfg.work_dir)
    if not cfg.get('resume'):
        refuse_other_run(records, cfg.to_dict())
    elif cfg.get('load_from') and '://' not in cfg.load_from:
        refuse_resuming_elsewhere(records, read_record(cfg.load_from))


if __name__ == '__main__':
    sys.exit(main())
