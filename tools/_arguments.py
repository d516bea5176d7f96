"""Arguments that several commands share, where MMDetection has them with its names, and the config they make."""

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.config import DictAction as _DictAction

from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from mmengine.runner import Runner


class DictAction(_DictAction):
    """KEY=VALUE pairs, with a message where one is none."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list[str],
                 option_string: str | None = None) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError):
            parser.error(f'{option_string}: KEY=VALUE pairs expected, got {" ".join(values)}')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --work-dir, --cfg-options and --launcher."""
    parser.add_argument('--work-dir', help='folder for logs and outputs (default: work_dirs/<config name>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that override the config, for example train_dataloader.batch_size=4 '
                             'model.backbone.init_cfg=None; lists as key="[a,b]"')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how several processes were started (default: none)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints that hold more than tensors, numbers and strings, as those that '
                             'MMDetection saves in training: this runs any code in the file; for origins you trust')
    # torch.distributed.launch passes it; torchrun sets the variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_tile_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --tile, --overlap, --tile-batch and --upscale; :func:`tile_settings` reads them.

    Args:
        parser: or a group of one.
        default: what is done without --tile, for its help.
    """
    parser.add_argument('--tile', type=int, metavar='PX',
                        help=f'predict in overlapping tiles of this side (default: {default})')
    parser.add_argument('--overlap', type=int, metavar='PX', help='of tiles (default: 128)')
    parser.add_argument('--tile-batch', type=int, metavar='N', help='tiles predicted at once (default: 1)')
    parser.add_argument('--upscale', type=float, help='enlarge tiles so many times (default: 1)')


def tile_settings(args: argparse.Namespace, default_px: int | None = None) -> dict[str, float] | None:
    """Arguments of ``TiledDetector``.

    Args:
        args: of the command line.
        default_px: side of tiles where the command line names none; None for no tiles.

    Returns:
        None for no tiles.

    Raises:
        MmcellError: values that do not fit.
    """
    from torch import nn

    from mmcell.models import TiledDetector
    others = dict(overlap_px=args.overlap, batch_size=args.tile_batch, upscale=args.upscale)
    others = {key: value for key, value in others.items() if value is not None}
    if args.tile is None and ('upscale' in others or (others and default_px is None)):
        raise MmcellError('--overlap, --tile-batch and --upscale are of tiles: give --tile, too')
    tile_px = default_px if args.tile is None else args.tile
    if tile_px is None:
        return None
    settings = dict(tile_px=tile_px, **others)
    try:
        TiledDetector(nn.Identity(), **settings)
    except ValueError as error:
        raise MmcellError(f'--tile, --overlap, --tile-batch or --upscale: {error}') from error
    return settings


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the command line's overrides; its work folder is there, and loading runs no code.

    Raises:
        MmcellError: the work folder cannot be written to, or the launcher does not fit how the process was started.
    """
    refuse_wrong_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    make_folder(cfg.work_dir, '--work-dir')
    if cfg.get('load_from') and '://' not in cfg.load_from and not Path(cfg.load_from).exists():
        raise MmcellError(f'load_from: there is no file {cfg.load_from}; {args.config} may say in its first lines how '
                          'to get it. Another file: --cfg-options load_from=FILE, none: load_from=None')
    from mmcell.checkpoints.weights import load_safely, trust_checkpoints
    load_safely()
    if args.trust_checkpoint:
        trust_checkpoints()
    return cfg


def make_folder(folder: str | Path, flag: str) -> None:
    """Makes a folder for outputs, and tries it before hours of work.

    Args:
        folder: with all above it; may be there.
        flag: of the command line, that names it.

    Raises:
        MmcellError: it cannot be written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MmcellError(f'cannot write to the folder {folder} ({error.strerror}): name another with '
                          f'{flag}') from error


def refuse_wrong_launcher(launcher: str) -> None:
    """Stops where --launcher does not fit how the process was started.

    Raises:
        MmcellError: it does not.
    """
    started_by_torchrun = 'RANK' in os.environ and 'WORLD_SIZE' in os.environ
    if launcher == 'pytorch' and not started_by_torchrun:
        raise MmcellError(f'--launcher pytorch: start with torchrun --nproc-per-node N {" ".join(sys.argv)}')
    if launcher == 'none' and started_by_torchrun and os.environ['WORLD_SIZE'] != '1':
        raise MmcellError(f'{os.environ["WORLD_SIZE"]} processes would each do the whole work: add --launcher pytorch')


@contextmanager
def processes(cfg: Config) -> Iterator[None]:
    """Joins the other processes where there are any and no GPU: mmengine's launchers want CUDA.

    Changes cfg to MMDetection's distributed wrapper without devices, over gloo. With GPUs mmengine does it all.

    Raises:
        MmcellError: another launcher than torchrun on CPUs.
    """
    from mmengine.device import get_device
    from torch import distributed
    if cfg.launcher != 'none' and get_device() == 'cpu':
        if cfg.launcher != 'pytorch':
            raise MmcellError(f'--launcher {cfg.launcher} needs GPUs; on CPUs: torchrun --nproc-per-node N '
                              '… --launcher pytorch')
        distributed.init_process_group('gloo')
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                     find_unused_parameters=cfg.get('find_unused_parameters', False))
    yield
    # Not after an error: the other processes may wait for this one.
    if distributed.is_initialized():
        # A model that still holds the process group when the interpreter ends can abort it: its threads are alive.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()
        # Metrics other than mmcell's gather their results through files and leave their folder.
        with suppress(OSError):
            Path('.dist_test').rmdir()


def stop_workers(runner: 'Runner') -> None:
    """Ends the workers of the data loaders: persistent ones left to the garbage collector take five seconds each."""
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        for holder in (getattr(loop, 'dataloader', None), getattr(loop, 'dataloader_iterator', None)):
            if hasattr(holder, '_iterator'):
                holder._iterator = None


def find_checkpoint(path: str) -> str:
    """The file itself; of a work folder the newest ``best_*.pth``, else the newest ``*.pth``, else the program ends."""
    folder = Path(path)
    if not folder.exists() and '://' not in path:
        sys.exit(f'error: no checkpoint or work folder {path}')
    if not folder.is_dir():
        return path
    for pattern in ('best_*.pth', '*.pth'):
        found = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
        if found:
            return str(found[-1])
    sys.exit(f'error: {folder} holds no checkpoint (*.pth)')


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with the message alone where the user can mend what is wrong."""
    try:
        yield
    except (MmcellError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        # What shells report for a program that Ctrl-C has ended: 128 and the number of the signal.
        sys.exit(130)
