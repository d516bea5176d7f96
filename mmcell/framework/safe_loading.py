"""Opens checkpoints without running code from them, whichever function of MMEngine loads them.

A PyTorch checkpoint is a pickle, and a pickle can call any function. With ``weights_only=True``, torch calls only its
own functions that rebuild tensors. MMEngine allows further functions, for example ``getattr``, and if a file needs
still others, it warns and unpickles the file without any restriction. :func:`replace_loaders` removes both.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from mmcell.errors import MmcellError

# A model that finds a smaller share of its weights in a file is another model: a training does not start from the file.
LEAST_SHARE = .5

_is_trusting: ContextVar[bool] = ContextVar('is_trusting', default=False)


class WeightsError(MmcellError):
    """A checkpoint or pretrained weights cannot be read, downloaded or written; the message says how to go on."""


class UntrustedCheckpointError(WeightsError):
    """A checkpoint holds more than tensors, numbers and strings, so that opening it may run code."""


@contextmanager
def trusting_checkpoints(trusted: bool = True) -> Iterator[None]:
    """Lets MMEngine open checkpoints inside a block that run code when they are opened: trusted files only.

    A file that can be read without running code is still read without running code. The trust ends with the block, also
    after an exception, and does not extend to other threads.

    Args:
        trusted: Whether checkpoints are trusted inside the block. False is for a block that must not trust them even if
            it lies inside a block that does.
    """
    token = _is_trusting.set(trusted)
    try:
        yield
    finally:
        _is_trusting.reset(token)


def load_tensors_only(path: object, map_location: object = None) -> dict:
    """Reads a checkpoint that holds tensors, numbers, strings and containers of them, without running code from it.

    Args:
        path: A file name, or an open binary file.
        map_location: The device for the tensors, as in ``torch.load``.

    Raises:
        FileNotFoundError: The file does not exist.
        UntrustedCheckpointError: The file holds objects of other types.
        WeightsError: The file is damaged, or not a checkpoint.
    """
    # Only functions on torch's own list may be called. MMEngine adds others with safe_globals, among them getattr.
    return _load(path, map_location, weights_only=True)


def load_trusted(path: object, map_location: object = None) -> dict:
    """Reads any checkpoint and runs the code that it holds: for trusted files only.

    Args:
        path: A file name, or an open binary file.
        map_location: The device for the tensors, as in ``torch.load``.

    Raises:
        FileNotFoundError: The file does not exist.
        WeightsError: The file is damaged, or not a checkpoint.
    """
    print_log(f'{path}: opened because you trust it, running whatever code it holds', logger='current', level=30)
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
            # torch's message ends with the advice to load the file without any restriction. This advice is cut off.
            reason = str(error).rpartition('WeightsUnpickler error:')[2].split('\n\nCheck')[0].strip()
            raise WeightsError(f'{path}: damaged, or not a checkpoint ({type(error).__name__}: {reason})') from error
        raise UntrustedCheckpointError(
            f'{path}: holds {refused[1]} beside tensors, numbers and strings. Training checkpoints of MMDetection hold '
            'such objects, but opening them runs any code that their author put in. If you trust the origin of this '
            'file, add --trust-checkpoint; checkpoints that mmcell saves from it will not need it') from error
    if not isinstance(loaded, dict):
        raise WeightsError(f'{path}: not a checkpoint: a dict with weights expected, found {type(loaded).__name__}')
    return loaded


def replace_loaders(checkpoint_module: ModuleType) -> None:
    """Makes MMEngine open checkpoints, ``load_from`` and ``init_cfg`` weights with :func:`load_tensors_only`.

    Files, URLs and object stores are all covered: MMEngine's loaders look up ``_safe_torch_load`` and ``load_url`` in
    their module, and the loader of ``http://`` and ``https://`` is registered anew. If a download fails, a
    :class:`WeightsError` says which file to put where. Further calls change nothing.

    Args:
        checkpoint_module: ``mmengine.runner.checkpoint``.
    """
    if checkpoint_module._safe_torch_load is _load_file:
        return
    load_from_http = _with_explanation(checkpoint_module.load_from_http)
    checkpoint_module._safe_torch_load = _load_file
    checkpoint_module.load_url = _without_code(checkpoint_module.load_url)
    checkpoint_module.load_from_http = load_from_http
    checkpoint_module.CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)


def _load_file(path: object, map_location: object = None) -> dict:
    try:
        return load_tensors_only(path, map_location)
    except UntrustedCheckpointError:
        if not _is_trusting.get():
            raise
    return load_trusted(path, map_location)


def _without_code(load_url: Callable[..., dict]) -> Callable[..., dict]:
    """Wraps MMEngine's ``load_url``, which is torch's function, so that it opens downloads with :func:`_load_file`."""
    @wraps(load_url)
    def load_url_safely(url: str, **kwargs: object) -> dict:
        try:
            return load_url(url, weights_only=True, **kwargs)
        except (UnpicklingError, RuntimeError, OSError, LookupError, ValueError, TypeError):
            cached = _cached_file(url, kwargs.get('model_dir'))
            if not cached.exists():  # the download failed
                raise
            return _load_file(cached, kwargs.get('map_location'))
    return load_url_safely


def _cached_file(url: str, model_dir: str | None = None) -> Path:
    return Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints') / Path(urlparse(url).path).name


def _with_explanation(load_from_http: Callable[..., dict]) -> Callable[..., dict]:
    """Wraps MMEngine's ``load_from_http``, so that the error after a failed download says what to do."""
    @wraps(load_from_http)
    def load_from_http_or_explain(filename: str, *args: object, **kwargs: object) -> dict:
        try:
            return load_from_http(filename, *args, **kwargs)
        except OSError as error:  # URLError, HTTPError, time-outs and refused connections are all OSErrors
            raise WeightsError(
                f'the weights {filename} cannot be downloaded ({error}). Fetch the file on a machine with a network '
                f'and put it at {_cached_file(filename)}, or name a local file: '
                '--cfg-options model.backbone.init_cfg.checkpoint=FILE, or start from random weights: '
                '--cfg-options model.backbone.init_cfg=None (and for a ResNet also model.backbone.frozen_stages=-1 '
                'model.backbone.norm_eval=False)') from error
    return load_from_http_or_explain
