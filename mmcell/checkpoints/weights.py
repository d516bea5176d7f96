"""Loading of checkpoints and pretrained weights: without running code from the file, and with errors that help."""

import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.errors import MmcellError

_load_from_http = checkpoint.load_from_http
_load_url = checkpoint.load_url
_trusting = False


class WeightsError(MmcellError):
    """A checkpoint or pretrained weights cannot be had; the message says how to go on."""


class UntrustedCheckpointError(WeightsError):
    """A checkpoint holds more than tensors, numbers and strings."""


def load_tensors_alone(path: object, map_location: object = None) -> dict:
    """Reads a checkpoint that holds tensors, numbers, strings and containers of them; nothing in it is called.

    Args:
        path: file name or open binary file.
        map_location: as ``torch.load``.

    Raises:
        UntrustedCheckpointError: it holds anything else.
        WeightsError: it is damaged, or no checkpoint.
    """
    # No safe_globals: torch's own list of what may be rebuilt, and nothing beside. mmengine's list has getattr.
    return _load(path, map_location, weights_only=True)


def load_trusted(path: object, map_location: object = None) -> dict:
    """Reads any checkpoint, running whatever code it names; for files of trusted origin alone.

    Raises:
        WeightsError: it is damaged, or no checkpoint.
    """
    print_log(f'{path}: opened because it is trusted, with whatever code it holds', logger='current', level=30)
    return _load(path, map_location, weights_only=False)


def _load(path: object, map_location: object, weights_only: bool) -> dict:
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=weights_only)
    except FileNotFoundError:
        raise
    except (UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError,
            ImportError) as error:
        refused = re.search(r'GLOBAL (\S+)', str(error)) if isinstance(error, UnpicklingError) else None
        if refused is None:
            # torch's own explanation advises to run whatever code is in the file.
            reason = str(error).rpartition('WeightsUnpickler error:')[2].split('\n\nCheck')[0].strip()
            raise WeightsError(f'{path}: damaged, or not a checkpoint ({type(error).__name__}: {reason})') from error
        raise UntrustedCheckpointError(
            f'{path}: holds {refused[1]} beside tensors, numbers and strings. Training checkpoints of MMDetection hold '
            'such things, but to open them is to run any code that their author put in. If you trust the origin of '
            'this one, add --trust-checkpoint; what mmcell saves from it needs that no more') from error
    if not isinstance(loaded, dict):
        raise WeightsError(f'{path}: not a checkpoint: a dict with weights expected, found {type(loaded).__name__}')
    return loaded


def find_newest_whole(work_dir: str | Path) -> Path | None:
    """The checkpoint of a work folder to resume from: of epoch_*.pth and iter_*.pth the newest that is whole.

    Files that were cut short are passed over with a warning. None where there is no whole one.
    """
    series = [sorted(Path(work_dir).glob(f'{name}_*.pth'), key=_step_of, reverse=True) for name in ('epoch', 'iter')]
    series.sort(key=lambda paths: paths[0].stat().st_mtime if paths else 0, reverse=True)
    for path in (path for paths in series for path in paths):
        if is_whole(path):
            return path
        print_log(f'{path} is not whole, or in the format of torch before 1.6: passed over', logger='current', level=30)
    return None


def _step_of(path: Path) -> int:
    number = path.stem.rpartition('_')[2]
    return int(number) if number.isdecimal() else -1


def is_whole(path: str | Path) -> bool:
    """Whether a file of ``torch.save`` (a zip archive) has all its parts with the right check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        return False


def trust_checkpoints() -> None:
    """Makes the loaders of :func:`load_safely` open what they refuse with :func:`load_trusted`, from now on."""
    global _trusting
    _trusting = True


def load_safely() -> None:
    """Makes every load of mmengine go through :func:`load_tensors_alone`: checkpoints, ``load_from``, ``init_cfg``.

    From files, URLs and object stores. Where a download fails, :class:`WeightsError` says what to put where.
    Idempotent. mmengine itself tries a list that has ``getattr`` in it, and then unpickles whatever is there with a
    warning. Its loaders look up ``_safe_torch_load`` and ``load_url`` in their module; that of ``https://`` is
    registered by itself.
    """
    checkpoint._safe_torch_load = _load_file
    checkpoint.load_url = _load_url_safely
    checkpoint.load_from_http = _load_from_http_or_explain
    CheckpointLoader.register_scheme(('http://', 'https://'), _load_from_http_or_explain, force=True)


def _load_file(path: object, map_location: object = None) -> dict:
    try:
        return load_tensors_alone(path, map_location)
    except UntrustedCheckpointError:
        if not _trusting:
            raise
    return load_trusted(path, map_location)


def _load_url_safely(url: str, **kwargs: object) -> dict:
    try:
        return _load_url(url, weights_only=True, **kwargs)
    except (UnpicklingError, RuntimeError, OSError, LookupError, ValueError, TypeError):
        cached = _cached_file(url, kwargs.get('model_dir'))
        if not cached.exists():  # the download failed
            raise
        return _load_file(cached, kwargs.get('map_location'))


def _cached_file(url: str, model_dir: str | None = None) -> Path:
    return Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints') / Path(urlparse(url).path).name


def _load_from_http_or_explain(filename: str, *args: object, **kwargs: object) -> dict:
    try:
        return _load_from_http(filename, *args, **kwargs)
    except OSError as error:  # URLError, HTTPError, time-outs and refused connections are all of this kind
        raise WeightsError(
            f'the weights {filename} cannot be downloaded ({error}). Fetch the file on a machine with a network and '
            f'put it at {_cached_file(filename)}, or name a local file: '
            '--cfg-options model.backbone.init_cfg.checkpoint=FILE, or start from random weights: '
            '--cfg-options model.backbone.init_cfg=None, for a ResNet with model.backbone.frozen_stages=-1 '
            'model.backbone.norm_eval=False') from error
