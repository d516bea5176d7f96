"""Command-line arguments that several commands share, and functions that apply them to the config.

An argument that MMDetection's commands also have has the same name as there.
"""

import argparse
import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

# Comes before the modules of mmcell, whose import takes seconds.
import _interrupts  # noqa: F401

from mmcell.errors import MmcellError, escape
from mmcell.files.names import print_any_text

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def add_setting_argument(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds --cfg-options to a parser; :func:`mmcell.settings.options.apply_options` reads the values.

    Args:
        parser: The parser that gets the argument.
        example: One or two settings, for the help text.
    """
    parser.add_argument('--cfg-options', nargs='+', action='extend', type=key_and_value, metavar='KEY=VALUE',
                        help=f'settings that replace those of the config, for example {example}; write a list as '
                             'KEY="[a,b]". A setting that nothing in the config reads is refused; +KEY=VALUE adds it '
                             'nevertheless (default: none)')


def key_and_value(text: str) -> str:
    """Returns the text of a setting unchanged; a text without key or without = makes argparse print a message."""
    if not text.partition('=')[0].removeprefix('+') or '=' not in text:
        raise argparse.ArgumentTypeError(f'KEY=VALUE pairs without spaces around the = expected, got {text}')
    return text


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --work-dir, --cfg-options, --launcher, --trust-checkpoint and the hidden --local_rank to a parser."""
    parser.add_argument('--work-dir', metavar='FOLDER',
                        help='folder for logs and outputs (default: work_dir of the config, or work_dirs/<path of '
                             'the config below configs/> if the config has none)')
    add_setting_argument(parser, 'train_dataloader.batch_size=4 model.backbone.init_cfg=None')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started the processes, if there are several (default: none, for a single process)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='also open checkpoints that hold more than tensors, numbers and strings, as MMDetection '
                             'saves them in training. This runs any code that is stored in the file: use it only for '
                             'files whose origin you trust (default: refuse them)')
    # torch.distributed.launch passes this argument; torchrun sets the environment variable LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_tile_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --tile, --overlap, --tile-batch and --upscale; :func:`tile_settings` reads them.

    Args:
        parser: The parser, or the argument group, that gets the arguments.
        default: What the command does without --tile, as a phrase for the help text.
    """
    parser.add_argument('--tile', type=int, metavar='PX',
                        help=f'predict in overlapping square tiles with sides of this many pixels (default: {default})')
    parser.add_argument('--overlap', type=int, metavar='PX',
                        help='least number of pixels that neighbouring tiles share (default: 128)')
    parser.add_argument('--tile-batch', type=int, metavar='N',
                        help='how many tiles are predicted at the same time (default: 1)')
    parser.add_argument('--upscale', type=float, metavar='FACTOR',
                        help='enlarge each tile by this factor before it is predicted (default: 1)')


def tile_settings(args: argparse.Namespace, default_px: int | None = None) -> dict[str, float] | None:
    """Returns the arguments for ``TiledDetector`` that the command line gives.

    Args:
        args: The parsed command line with the arguments of :func:`add_tile_arguments`.
        default_px: The side of a tile in pixels if --tile was not given; None: without --tile there are no tiles.

    Returns:
        Argument name to value: always ``tile_px``, and the others only if they were given. None: no tiles.

    Raises:
        MmcellError: An argument that has no effect without --tile was given without it, or ``TiledDetector`` refuses
            the values.
    """
    from torch import nn

    from mmcell.models import TiledDetector
    optional = dict(overlap_px=args.overlap, batch_size=args.tile_batch, upscale=args.upscale)
    optional = {key: value for key, value in optional.items() if value is not None}
    if args.tile is None and ('upscale' in optional or (optional and default_px is None)):
        raise MmcellError('--overlap, --tile-batch and --upscale have an effect only on tiles: give --tile, too')
    tile_px = default_px if args.tile is None else args.tile
    if tile_px is None:
        return None
    settings = dict(tile_px=tile_px, **optional)
    try:
        TiledDetector(nn.Identity(), **settings)
    except ValueError as error:
        raise MmcellError(f'--tile, --overlap, --tile-batch or --upscale: {error}') from error
    return settings


def load_config(args: argparse.Namespace) -> 'Config':
    """Reads the config file, applies the command line to it, and creates the work folder.

    Args:
        args: The parsed command line, with ``config`` and the arguments of :func:`add_config_arguments`.

    Raises:
        MmcellError: The config file or a setting cannot be read, a setting does not exist, anchors have a number for
            a list, the model would be shown red and blue swapped, no file can be written to the work folder,
            ``load_from`` names no file, or --launcher does not fit how the process was started.
    """
    from mmengine.config import Config
    refuse_wrong_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = Config.fromfile(args.config)
    except (FileNotFoundError, MmcellError):
        raise
    # A config is code: anything can go wrong in it.
    except Exception as error:
        place = f', line {error.lineno}: {error.text.strip()}' if isinstance(error, SyntaxError) and error.text else ''
        raise MmcellError(f'the config {args.config}, or one that it inherits from, cannot be read: '
                          f'{type(error).__name__}: {getattr(error, "msg", error)}{place}') from error
    cfg.launcher = args.launcher
    from mmcell.framework.console import without_onedl_notice
    from mmcell.settings.anchors import refuse_number_of_anchors
    from mmcell.settings.options import apply_options
    with without_onedl_notice():
        apply_options(cfg, args.cfg_options or ())
    refuse_number_of_anchors(cfg.to_dict())
    warn_of_unread_settings(cfg)
    use_no_workers(cfg)
    with without_onedl_notice():
        from mmcell.datasets.colors import refuse_swapped_colors
    refuse_swapped_colors(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(default_work_dir(args.config))
    make_folder(cfg.work_dir, '--work-dir')
    if cfg.get('load_from') and '://' not in cfg.load_from and not Path(cfg.load_from).exists():
        raise MmcellError(f'load_from: there is no file {cfg.load_from}; the first lines of {args.config} may say how '
                          'to get it. Give --cfg-options load_from=FILE for another file, load_from=None for none')
    if cfg.get('load_from') and Path(cfg.load_from).is_dir() and not cfg.get('resume'):
        raise MmcellError(f'load_from: {cfg.load_from} is a folder: name one of its checkpoints, for example '
                          f'{next(iter(sorted(Path(cfg.load_from).glob("*.pth"))), Path(cfg.load_from, "NAME.pth"))}')
    return cfg


def default_work_dir(config: str | Path) -> Path:
    """Returns the work folder of a config that names none: the path of the config below configs/, in work_dirs/.

    Example: work_dirs/cell/mask-rcnn_r50 for configs/cell/mask-rcnn_r50.py, and work_dirs/mine for mine.py. Two configs
    of the same name in different folders have different work folders.
    """
    path = Path(config).absolute().with_suffix('')
    n_parts = path.parts[::-1].index('configs') if 'configs' in path.parts else 1
    return Path('work_dirs', *path.parts[-n_parts:])


def use_no_workers(cfg: 'Config') -> None:
    """Removes the settings of data loaders that only worker processes read, where ``num_workers`` is 0."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader and not loader.get('num_workers'):
            for key in ('persistent_workers', 'prefetch_factor'):
                loader.pop(key, None)


def warn_of_unread_settings(cfg: 'Config') -> None:
    """Prints a warning per setting that no constructor takes; of several processes, only the first prints them."""
    from mmcell.framework.console import without_onedl_notice
    from mmcell.settings.unread import describe_unread_settings
    if os.environ.get('RANK', '0') == '0':
        with without_onedl_notice():
            sentences = describe_unread_settings(cfg.to_dict())
        for sentence in sentences:
            print(f'warning: {sentence}', file=sys.stderr)


def make_folder(folder: str | Path, flag: str) -> None:
    """Creates a folder for outputs, and tries to write to it before hours of work depend on it.

    Args:
        folder: The folder; missing parent folders are created, and it may exist already.
        flag: The command-line flag that names the folder, for the message.

    Raises:
        MmcellError: The folder cannot be created, or no file can be written to it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MmcellError(f'cannot write to the folder {folder} ({error.strerror}): name another folder with '
                          f'{flag}') from error


def refuse_wrong_launcher(launcher: str) -> None:
    """Raises an error if --launcher does not fit how this process was started.

    Raises:
        MmcellError: --launcher is pytorch, but torchrun did not start the process; or it is none, but torchrun started
            several processes.
    """
    started_by_torchrun = 'RANK' in os.environ and 'WORLD_SIZE' in os.environ
    if launcher == 'pytorch' and not started_by_torchrun:
        raise MmcellError(f'--launcher pytorch needs processes of torchrun: start with torchrun --nproc-per-node N '
                          f'{" ".join(sys.argv)}')
    if launcher == 'none' and started_by_torchrun and os.environ['WORLD_SIZE'] != '1':
        raise MmcellError(f'{os.environ["WORLD_SIZE"]} processes would each do the whole work: add --launcher pytorch')


@contextmanager
def processes(cfg: 'Config') -> Iterator[None]:
    """Connects this process with the others for the block, and disconnects it after the block.

    With GPUs, MMEngine connects the processes itself, when the runner is built. Without a GPU it cannot, because its
    launchers need CUDA. This function then connects the processes over gloo, and changes ``cfg`` so that MMEngine uses
    gloo and a model wrapper that names no devices. If there is only one process, nothing is connected.

    Args:
        cfg: The config of :func:`load_config`, from which the runner is built inside the block.

    Raises:
        MmcellError: Processes without a GPU were started by another launcher than torchrun.
    """
    from mmengine.device import get_device
    from torch import distributed
    if cfg.launcher != 'none' and get_device() == 'cpu':
        if cfg.launcher != 'pytorch':
            raise MmcellError(f'--launcher {cfg.launcher} needs GPUs; without GPUs start with torchrun '
                              '--nproc-per-node N … --launcher pytorch')
        distributed.init_process_group('gloo')
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                     find_unused_parameters=cfg.get('find_unused_parameters', False))
    yield
    # After an error this is skipped: the other processes may wait inside the block, and would never come here.
    if distributed.is_initialized():
        # A model that still refers to the process group when the interpreter ends can make the interpreter abort,
        # because threads of the group are still running then.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()
        # Metrics of other packages exchange their results through files in this folder, and do not remove it.
        with suppress(OSError):
            Path('.dist_test').rmdir()


def stop_workers(runner: 'Runner') -> None:
    """Ends the worker processes of the runner's data loaders.

    Persistent workers that are left to the garbage collector take five seconds each to end.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        for holder in (getattr(loop, 'dataloader', None), getattr(loop, 'dataloader_iterator', None)):
            if hasattr(holder, '_iterator'):
                holder._iterator = None


def message_of(error: Exception) -> str:
    """Returns the message of an error, also if it was raised in a worker of a data loader.

    torch raises the error again in the main process, with the whole traceback of the worker as its message.
    """
    _, traceback_starts, text = str(error).partition('\nOriginal Traceback (most recent call last):\n')
    # The last line of a traceback that is not indented begins with the name of the class.
    lines = re.split(rf'^(?:[\w.]+\.)?{type(error).__name__}: ', text, flags=re.MULTILINE)
    return lines[-1].strip() if traceback_starts and len(lines) > 1 else str(error)


# The functions of MMEngine that build a part of a run without a registry, and the setting that each of them reads.
BUILDERS = {'build_dataloader': 'a data loader', 'build_train_loop': 'train_cfg', 'build_val_loop': 'val_cfg',
            'build_test_loop': 'test_cfg', 'build_optim_wrapper': 'optim_wrapper', 'register_custom_hooks':
            'custom_hooks', 'register_default_hooks': 'default_hooks'}


def part_being_built(error: Exception) -> str:
    """Returns the name of what MMEngine was building from the config when an error was raised; '' if it was nothing.

    The name is that of the class, with its plain settings, or that of the setting. The innermost part counts.
    """
    part = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, names = frame.f_code.co_name, frame.f_locals
        if name == 'build_from_cfg':
            kind = names.get('obj_type', names['cfg'].get('type') if isinstance(names['cfg'], dict) else None)
            settings = ', '.join(f'{key}={value!r}' for key, value in names.get('args', {}).items()
                                 if value is None or isinstance(value, str | int | float))
            part = f'{getattr(kind, "__name__", kind)}({settings})'
        elif name in BUILDERS and frame.f_globals['__name__'] == 'mmengine.runner.runner':
            part = part or BUILDERS[name]
    return part


def describe_build_error(error: Exception, part: str) -> str:
    """Returns a sentence about an error that was raised while a part of a run was built from the config."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = ' '.join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if 'got an unexpected keyword argument' in message and last.filename.endswith('build_functions.py'):
        return (f'{message}. Remove this setting from the config; on the command line, replace the whole dict: '
                "KEY=\"{'_delete_': True, 'type': …}\"")
    if ' is not in the ' in message and 'registry' in message:
        name = part.partition('(')[0]
        return (f'the config has type={name!r}, but there is no class of this name. Correct the name, or import the '
                "module of a class of your own with custom_imports = dict(imports=['MODULE'])")
    return (f'the config cannot be used: {part} cannot be built: {type(error).__name__}: {message} '
            f'({Path(last.filename).name}, line {last.lineno})')


@contextmanager
def plain_errors(after_interrupt: str = '') -> Iterator[None]:
    """Ends the program with exit status 1 and only a message, if the block raises an error that users can correct.

    These errors are mmcell's own errors, missing files, a full disk, and settings from which nothing can be built.
    Other errors keep their traceback. Ctrl-C ends the program with exit status 130 and the message "interrupted".

    Args:
        after_interrupt: Text that follows the word 'interrupted' when Ctrl-C ended the block.
    """
    print_any_text()
    try:
        yield
    except FileNotFoundError as error:
        # Errors of the system itself have a file name, mmcell's a message of their own.
        sys.exit(f'error: no such file or folder: {escape(error.filename)}' if error.filename else
                 f'error: {escape(message_of(error))}')
    except MmcellError as error:
        sys.exit(f'error: {message_of(error)}')
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f'error: {error}')
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        if not (part := part_being_built(error)):
            raise
        sys.exit(f'error: {describe_build_error(error, part)}')
    except KeyboardInterrupt:
        print(f'interrupted{after_interrupt}', file=sys.stderr)
        # Shells report this status for a program that Ctrl-C has ended: 128 plus 2, the number of the signal.
        sys.exit(130)
