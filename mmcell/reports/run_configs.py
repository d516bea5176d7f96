"""The configs of trainings: what a work folder holds, the config that it inherits from, and what differs."""

import ast
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config

from mmcell.checkpoints.differences import compare_settings
from mmcell.errors import MmcellError
from mmcell.evaluation.table_formats import ValueTable
from mmcell.framework.console import without_onedl_notice

# Settings that say where a training ran, not what it did.
_OF_PLACE = re.compile(r'work_dir|launcher|resume|experiment_name|filename')
# The settings that MMEngine's Runner reads. Other entries of a config are variables of its own.
_SECTIONS = (
    'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg',
    'val_evaluator', 'test_evaluator', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr', 'default_hooks',
    'custom_hooks', 'data_preprocessor', 'load_from', 'env_cfg', 'log_processor', 'randomness', 'default_scope',
    'visualizer', 'tta_model', 'tta_pipeline')


class BaseConfigError(MmcellError):
    """A config that others are compared with cannot be read."""


def find_config_name(work_dir: str | Path) -> str | None:
    """Returns the name of the config file of a work folder, for example 'mask-rcnn_r50.py'; None if it is not known."""
    # MMEngine writes the config under its own name into the work folder, beside the folders of the runs.
    folder = Path(work_dir)
    names = [path.name for path in folder.glob('*.py')] or [path.name for path in folder.parent.glob('*.py')]
    return names[0] if len(names) == 1 else None


def find_config_file(name: str | None, folders: Sequence[Path]) -> Path | None:
    """Returns the config file of a name in the first folder that holds it, at any depth; None if it holds several."""
    for folder in folders:
        found = list(folder.rglob(name)) if name else []
        if found:
            return found[0] if len(found) == 1 else None
    return None


def read_base(config: Path) -> tuple[str, dict] | None:
    """Reads what a config file inherits, which is a config itself.

    Args:
        config: The config file, whose ``_base_`` names one or more config files.

    Returns:
        The names of the inherited files, and their settings with everything that they inherit; None if the config
        inherits nothing.

    Raises:
        BaseConfigError: An inherited file cannot be read. Configs are code: anything can go wrong in them.
    """
    bases = _find_bases(config)
    if not bases:
        return None
    # Names with a scope, as in mmdet::_base_/models/x.py, are found by MMEngine.
    paths = [base if '::' in base else str((config.parent / base).resolve()) for base in bases]
    return ', '.join(bases), _resolve(Config.fromstring, f'_base_ = {paths!r}\n', '.py', where=config)


def read_config_file(config: str | Path) -> dict:
    """Returns the settings of a config file with everything that it inherits.

    Raises:
        BaseConfigError: The file does not exist, or cannot be read.
    """
    return _resolve(Config.fromfile, str(config), where=config)


def _resolve(read: object, *args: str, where: str | Path) -> dict:
    try:
        with without_onedl_notice():
            return read(*args).to_dict()
    except FileNotFoundError as error:
        raise BaseConfigError(f'{where}: the config, or one that it inherits from, does not exist') from error
    except Exception as error:
        raise BaseConfigError(f'{where}: the config, or one that it inherits from, cannot be read: '
                              f'{type(error).__name__}: {error}') from error


def _find_bases(config: Path) -> list[str]:
    """Returns the entries of ``_base_`` in the source of a config, without running it."""
    with suppress(SyntaxError, ValueError):
        for statement in ast.parse(config.read_text(encoding='utf-8')).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id='_base_')], value=value):
                    bases = ast.literal_eval(value)
                    return [bases] if isinstance(bases, str) else list(bases)
    return []


def difference_table(before: Mapping, now: Mapping, names: tuple[str, str], title: str) -> ValueTable:
    """Returns a row per setting that differs between two configs.

    Args:
        before: The settings of one config, as nested dicts and lists.
        now: The settings of the other config.
        names: The names of the two configs.
        title: The title of the table.
    """
    # Entries such as train_pipeline, which a config only uses itself, stand in its consumers, too.
    before, now = ({key: value for key, value in settings.items() if key in _SECTIONS} for settings in (before, now))
    rows = [(change.name, change.before, change.now) for change in compare_settings(before, now, _OF_PLACE)]
    return ValueTable(['setting', *names], rows, title, None if rows else 'No setting differs.')
