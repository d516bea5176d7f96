"""Configs of commands: reading their code, applying the command line to them, and the folder that they write to."""

import argparse
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from _launch import is_first_process, refuse_wrong_launcher

from mmcell.errors import MmcellError
from mmcell.files.early_checks import refuse_unwritable_folder
from mmcell.settings.config_files import read_config_file, refuse_unreadable_config

if TYPE_CHECKING:
    from mmengine.config import Config


def read_config(args: argparse.Namespace, path: str) -> 'Config':
    """Reads a config file, and puts the settings of --cfg-options into it, if the command has this option.

    If the config has a ``fold``, its training and validation data are those of the fold.

    Args:
        args: The parsed command line.
        path: The config file.

    Raises:
        FileNotFoundError: There is no such file.
        MmcellError: The code of the config has a mistake, or a setting does not exist or cannot be read.
    """
    cfg = read_config_file(path)
    options = getattr(args, 'cfg_options', None) or ()
    if options:
        from mmcell.framework.console import without_onedl_notice
        from mmcell.settings.names import UnknownSettingError
        from mmcell.settings.options import apply_options
        try:
            with without_onedl_notice():
                apply_options(cfg, options)
        except UnknownSettingError as error:
            flags = [name for name in vars(args) if any(option.startswith(f'{name}=') for option in options)]
            for name in flags:
                error.add_note(f'To give the flag of this name, write --{name.replace("_", "-")} without --cfg-options')
            raise
    from mmcell.settings.folds import apply_fold
    apply_fold(cfg)
    return cfg


def check_config_arguments(args: argparse.Namespace) -> None:
    """Stops at a wrong argument of a run before anything is imported that takes time.

    Args:
        args: The parsed command line, with ``config`` and the arguments of ``add_config_arguments``.

    Raises:
        FileNotFoundError: There is no such config.
        MmcellError: The config file, or one that it inherits from, is not Python, no file can be written to --work-dir,
            or --launcher does not fit how the process was started.
    """
    refuse_wrong_launcher(args.launcher)
    refuse_unreadable_config(args.config)
    refuse_unwritable_folder(args.work_dir, '--work-dir')


def load_config(args: argparse.Namespace) -> 'Config':
    """Reads the config file of a run, applies the command line to it, and creates the work folder.

    Args:
        args: The parsed command line, with ``config`` and the arguments of ``add_config_arguments``.

    Raises:
        FileNotFoundError: There is no such config.
        MmcellError: The config file or a setting cannot be read, a setting does not exist, anchors have a number for
            a list, the model would be shown red and blue swapped, no file can be written to the work folder,
            ``load_from`` names no file, or --launcher does not fit how the process was started.
    """
    refuse_wrong_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args, args.config)
    cfg.launcher = args.launcher
    find_weights(cfg, args.config)
    from mmcell.framework.console import without_onedl_notice
    from mmcell.settings.anchors import refuse_number_of_anchors
    refuse_number_of_anchors(cfg.to_dict())
    warn_of_unread_settings(cfg)
    use_no_workers(cfg)
    with without_onedl_notice():
        from mmcell.datasets.colors import refuse_swapped_colors
    refuse_swapped_colors(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    else:
        folder = str(cfg.get('work_dir') or default_work_dir(args.config))
        cfg.work_dir = folder if cfg.get('fold') is None else folder_of_fold(folder, cfg.fold)
    make_folder(cfg.work_dir, '--work-dir')
    return cfg


def warn_of_unread_settings(cfg: 'Config') -> None:
    """Prints a warning per setting that no constructor takes; of several processes, only the first prints them."""
    from mmcell.framework.console import without_onedl_notice
    from mmcell.settings.unread import describe_unread_settings
    if is_first_process():
        with without_onedl_notice():
            sentences = describe_unread_settings(cfg.to_dict())
        for sentence in sentences:
            print(f'warning: {sentence}', file=sys.stderr)


def use_no_workers(cfg: 'Config') -> None:
    """Removes the settings of data loaders that only worker processes read, where ``num_workers`` is 0."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader and not loader.get('num_workers'):
            for key in ('persistent_workers', 'prefetch_factor'):
                loader.pop(key, None)


def default_work_dir(config: str | Path) -> Path:
    """Returns the work folder of a config that names none: the path of the config below configs/, in work_dirs/.

    Example: work_dirs/cell/mask-rcnn_r50 for configs/cell/mask-rcnn_r50.py, and work_dirs/mine for mine.py. Two configs
    of the same name in different folders have different work folders.
    """
    path = Path(config).absolute().with_suffix('')
    n_parts = path.parts[::-1].index('configs') if 'configs' in path.parts else 1
    return Path('work_dirs', *path.parts[-n_parts:])


def folder_of_fold(folder: str, fold: int) -> str:
    """Returns the work folder of a fold, work_dirs/mine_fold2 for work_dirs/mine and work_dirs/mine_fold0."""
    return re.sub(r'(_fold\d+)?$', f'_fold{fold}', folder, count=1)


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


def find_weights(cfg: 'Config', path: str) -> None:
    """Stops before the training if ``load_from`` does not exist; a work folder becomes its best or last checkpoint.

    Args:
        cfg: The config, which is changed.
        path: Its file, for the message.

    Raises:
        MmcellError: ``load_from`` does not exist, or is a folder without a checkpoint although no training is resumed.
    """
    weights = cfg.get('load_from')
    if not weights or '://' in weights:
        return
    if not Path(weights).exists():
        raise MmcellError(f'load_from: there is no file {weights}; the first lines of {path} may say how to get '
                          'it. Give --cfg-options load_from=FILE for another file, load_from=None for none')
    if Path(weights).is_dir() and not cfg.get('resume'):
        from mmcell.checkpoints.records import find_checkpoint
        cfg.load_from = find_checkpoint(weights)
