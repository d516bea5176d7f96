"""Opens checkpoints without running code from them, whichever function of MMEngine loads them.

A PyTorch checkpoint is a pickle, and a pickle can call any function. With ``weights_only=True``, torch calls only its
own functions that rebuild tensors. MMEngine allows further functions, for example ``getattr``, and if a file needs
still others, it warns and unpickles the file without any restriction. :func:`replace_loaders` removes both.

torch does not compare the check sums of a file: of a checkpoint with a damaged byte it gives other weights, without an
error. They are compared here before a file is opened.
"""

import hashlib
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import BinaryIO
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log

from mmcell.errors import in_one_line, quote
from mmcell.framework.bounded_pickles import refuse_unbounded
from mmcell.framework.model_files import SUFFIX, read_model
from mmcell.framework.weights_errors import UntrustedCheckpointError, WeightsError

# A model that finds a smaller share of its weights in a file is another model: a training does not start from the file.
LEAST_SHARE = .5

_is_trusting: ContextVar[bool] = ContextVar('is_trusting', default=False)


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
        path: A file name, or an open binary file. A model of :mod:`mmcell.framework.model_files` is one, too.
        map_location: The device for the tensors, as in ``torch.load``.

    Raises:
        FileNotFoundError: The file does not exist.
        UntrustedCheckpointError: The file holds objects of other types.
        WeightsError: The file is damaged, or not a checkpoint.
    """
    # Only functions on torch's own list may be called. MMEngine adds others with safe_globals, among them getattr.
    return _load(path, map_location, weights_only=True)


def load_trusted(path: object, map_location: object = None) -> dict:
    """Reads any checkpoint and runs the code that it holds: for trusted files only. See :func:`load_tensors_only`."""
    print_log(f'{path}: opened because you trust it, running whatever code it holds', logger='current', level=30)
    return _load(path, map_location, weights_only=False)


def _load(path: object, map_location: object, weights_only: bool) -> dict:
    if isinstance(path, str | Path) and Path(path).suffix == SUFFIX:
        return read_model(path, map_location)
    digits = _digits_in_name(path)
    with _opened(path) as file:
        damage, has_check_sums = _find_damage(file, digits), _has_check_sums(file)
    if damage is not None:
        raise WeightsError(f'{path}: damaged, or not a checkpoint ({damage}). Take another copy of the file')
    try:
        if weights_only:
            with _opened(path) as file:
                for content in _pickles_of(file):
                    refuse_unbounded(content)
        loaded = torch.load(path, map_location=map_location, weights_only=weights_only)
    except FileNotFoundError:
        raise
    # A damaged file makes torch fail in any way.
    except Exception as error:
        refused = re.search(r'GLOBAL (\S+)', str(error)) if isinstance(error, UnpicklingError) else None
        if refused is None:
            # torch's message ends with the advice to load the file without any restriction. This advice is cut off.
            reason = ' '.join(str(error).rpartition('WeightsUnpickler error:')[2].split('\n\nCheck')[0].split())[:300]
            raise WeightsError(f'{path}: damaged, or not a checkpoint ({type(error).__name__}: {reason})') from error
        raise UntrustedCheckpointError(
            f'{path}: holds {refused[1]} beside tensors, numbers and strings. Training checkpoints of MMDetection hold '
            'such objects, but opening them runs any code that their author put in. If you trust the origin of this '
            'file, add --trust-checkpoint; checkpoints that mmcell saves from it will not need it') from error
    if not isinstance(loaded, dict):
        raise WeightsError(f'{path}: not a checkpoint: a dict with weights expected, found {type(loaded).__name__}')
    if not has_check_sums and not digits:
        print_log(f'{path}: has the format of torch before 1.6, which has no check sums: damage to the file is not '
                  'noticed. torch.save(torch.load(FILE), NEW) makes a file that has them', logger='current', level=30)
    return loaded


def find_damage(path: object) -> str | None:
    """Returns what is wrong with a file of ``torch.save``; None if its bytes are those that were written.

    Args:
        path: A file name, or an open binary file, whose position is set to its beginning.

    Raises:
        OSError: The file cannot be read.
    """
    with _opened(path) as file:
        return _find_damage(file, _digits_in_name(path))


def _find_damage(file: BinaryIO, digits: str) -> str | None:
    """Compares a file of ``torch.save`` with its check sums, at about the speed at which it is read.

    A file that torch wrote before version 1.6 has no check sums; it is compared with the first digits of its SHA-256
    sum, if they are known. Returns what is wrong with the file; None if its bytes are those that were written.
    """
    size = file.seek(0, 2)
    if not _has_check_sums(file):
        file.seek(0)
        if digits and not hashlib.file_digest(file, 'sha256').hexdigest().startswith(digits):
            return f'its SHA-256 sum does not begin with {digits}, as its name says'
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if not _has_one_table(file, size, archive):
                return 'its table of contents is not at its end, where torch.save writes it'
            # Newer versions of zipfile replace a name by one in an extra field, which torch does not know, and all cut
            # it at a zero byte.
            if any(part.filename != part.orig_filename for part in parts):
                return 'one of its parts has two names'
            # torch looks for a part without regard to case, and finds any one of several.
            if len({part.filename.lower() for part in parts}) < len(parts):
                return 'several of its parts have the same name'
            # torch.save compresses nothing, so that a file cannot unfold to more than its size.
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                return 'its parts are compressed, which torch.save never does'
            # torch would reserve as much memory as a part claims to have.
            if any(part.file_size != part.compress_size for part in parts):
                return 'its parts have other sizes than it states'
            if sum(part.compress_size for part in parts) > size:
                return 'its parts overlap'
            name = archive.testzip()
            return None if name is None else f'the check sum of its part {quote(name)} is wrong'
    # Damaged records make the module fail in many ways.
    except Exception as error:
        return in_one_line(error)


def _has_one_table(file: BinaryIO, size: int, archive: zipfile.ZipFile) -> bool:
    """Says whether torch reads the same table of contents as :mod:`zipfile`.

    The two look for it in different ways: a file with bytes behind its end, or with positions that are not those in the
    file, can show one table to the checks here and another to torch. Source of the layout: APPNOTE.TXT of PKWARE, 4.3.
    """
    file.seek(max(0, size - 42))
    end = file.read()[-42:]
    locator, end = end[:-22], end[-22:]
    if end[:4] != b'PK\5\6' or end[20:] != bytes(2):
        return False
    # In a file with 64-bit positions, 56 bytes lie between the table and the locator that states where they begin.
    if locator[:4] == b'PK\6\7' and int.from_bytes(locator[8:16], 'little') != size - 42 - 56:
        return False
    # zipfile adds to all positions what the one of the table is wrong by.
    file.seek(archive.start_dir)
    entry = file.read(46)
    return not archive.infolist() or int.from_bytes(entry[42:46], 'little') == archive.infolist()[0].header_offset


def _pickles_of(file: BinaryIO) -> Iterator[bytes]:
    """Yields the pickles in a checkpoint: small ones beside the tensors, or the whole file of torch before 1.6."""
    if _has_check_sums(file):
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(part) for part in archive.infolist() if part.filename.lower().endswith('.pkl'))
    else:
        file.seek(0)
        yield file.read()


@contextmanager
def _opened(path: object) -> Iterator[BinaryIO]:
    """Opens a file for the block; the position of a file that is open already is its beginning after the block."""
    if not hasattr(path, 'read'):
        with open(path, 'rb') as file:
            yield file
        return
    try:
        yield path
    finally:
        path.seek(0)


def _has_check_sums(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4) == b'PK\x03\x04'  # torch looks at these bytes, too


def _digits_in_name(path: object) -> str:
    """Returns the digits with which published files are named after their SHA-256 sum: ``resnet50-19c8e357.pth``."""
    found = None if hasattr(path, 'read') else re.search(r'-([0-9a-f]{8,64})$', Path(path).stem)
    return found[1] if found else ''


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
    checkpoint_module.load_url = _load_url
    checkpoint_module.load_from_http = load_from_http
    checkpoint_module.CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)


def _load_file(path: object, map_location: object = None) -> dict:
    try:
        return load_tensors_only(path, map_location)
    except UntrustedCheckpointError:
        if not _is_trusting.get():
            raise
    return load_trusted(path, map_location)


def _load_url(url: str, model_dir: str | None = None, map_location: object = None, progress: bool = True) -> dict:
    """Does what torch's ``load_url`` does, but opens the file with :func:`_load_file`."""
    cached = _cached_file(url, model_dir)
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        print(f'Downloading: "{url}" to {cached}', file=sys.stderr)
        torch.hub.download_url_to_file(url, str(cached), progress=progress)
    try:
        return _load_file(cached, map_location)
    except UntrustedCheckpointError:
        raise
    except WeightsError as error:
        raise WeightsError(f'{error}: if {cached} is deleted, it is downloaded again') from error


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
