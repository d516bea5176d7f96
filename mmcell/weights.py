"""Pretrained weights that cannot be downloaded: what to put where."""

from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.errors import MmcellError

_load_from_http = checkpoint.load_from_http


class WeightsError(MmcellError):
    """Pretrained weights cannot be had; the message says how to go on."""


def explain_failed_downloads() -> None:
    """Makes mmengine's loading from URLs raise :class:`WeightsError` where the download fails. Idempotent.

    mmengine's loaders of ``torchvision://`` and ``open-mmlab://`` look up a URL and call the module's
    ``load_from_http``; that of ``https://`` is registered by itself.
    """
    checkpoint.load_from_http = _load_from_http_or_explain
    CheckpointLoader.register_scheme(('http://', 'https://'), _load_from_http_or_explain, force=True)


def _load_from_http_or_explain(filename: str, *args: object, **kwargs: object) -> dict:
    try:
        return _load_from_http(filename, *args, **kwargs)
    except OSError as error:  # URLError, HTTPError, time-outs and refused connections are all of this kind
        target = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(filename).path).name
        raise WeightsError(
            f'the weights {filename} cannot be downloaded ({error}). Fetch the file on a machine with a network and '
            f'put it at {target}, or name a local file: --cfg-options model.backbone.init_cfg.checkpoint=FILE, or '
            'start from random weights: --cfg-options model.backbone.init_cfg=None, for a ResNet with '
            'model.backbone.frozen_stages=-1 model.backbone.norm_eval=False') from error
