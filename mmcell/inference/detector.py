"""Loads detectors from checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmcell.checkpoints.config import build_without_trust, read_checkpoint_config
from mmcell.checkpoints.fit import refuse_other_classes, refuse_other_model, without_wrappers
from mmcell.checkpoints.records import find_checkpoint
from mmcell.classes.matching import match_classes
from mmcell.errors import MmcellError, quote
from mmcell.framework.safe_loading import trusting_checkpoints
from mmcell.images.image_file import CHANNEL_ORDERS
from mmcell.images.scale import MAX_MPP, MIN_MPP, common_mpp, is_plausible_mpp, to_mpp
from mmcell.models.precision import choose_precision
from mmcell.models.winograd import use_winograd
from mmcell.settings.data_sets import first_leaf
from mmcell.settings.options import apply_options


class DetectorError(MmcellError):
    """No detector can be made from a checkpoint; the message says why."""


def load_detector(checkpoint: str | Path, config: str | Path | Config | None = None, device: str = 'cpu',
                  cfg_options: dict | Sequence[str] = (), trusted: bool = False, amp: bool = False) -> nn.Module:
    """Loads a detector with its weights, ready for prediction.

    Args:
        checkpoint: A file with weights, or a work folder, whose best checkpoint is taken. Checkpoints that mmcell and
            MMDetection save in training contain their config and the names of the classes.
        config: A config file, or a config. None means the config inside the checkpoint. It is read without running
            code, and only listed classes are built from it (:mod:`mmcell.checkpoints.allowed_classes`).
        device: The device on which the model computes, as torch names it: 'cpu', 'cuda:0' …
        cfg_options: Settings that override the config: texts KEY=VALUE, or a dict with dotted names as keys, whose
            values are taken as they are.
        trusted: Whether to open the checkpoint even if it holds more than tensors, numbers and strings, and to build
            any class that the config inside it names, for example one of your own. This can run any code that the
            author of the file put in. The trust ends with this call.
        amp: Whether to predict in mixed precision: the layers of the network compute in bfloat16 on the CPU, in float16
            on CUDA, and boxes, scores and masks are still computed in float32. On the CPU it is faster only if the
            processor has AVX-512 BF16 or AMX.

    Returns:
        The model that the config describes, in evaluation mode, with two attributes that MMDetection's
        ``init_detector`` sets as well: ``cfg`` is the config. ``dataset_meta`` is a dict with 'classes', a tuple of
        names; 'channel_order', the order of the colours ('rgb' or 'bgr') in the files of the training data; and 'mpp',
        the micrometres per pixel of what the model was shown, None if not known. A ``mpp`` of the test data in the
        config replaces what the checkpoint says.

    Raises:
        CheckpointConfigError: No config was given, and the checkpoint has none that can be used.
        ClassesError: ``metainfo`` in the config names other classes than the checkpoint.
        DetectorError: Neither checkpoint nor config names the classes.
        FitError: The weights belong to another model, or mean something else in the model of the config, or its heads
            have another number of classes than there are names.
        MmcellError: ``amp`` is true, but does not work with this detector or on this device.
        WeightsError: There is no such checkpoint, or the file is damaged, is not a checkpoint, or would run code.
    """
    with trusting_checkpoints(trusted):
        loaded = CheckpointLoader.load_checkpoint(find_checkpoint(checkpoint), map_location='cpu', logger='silent')
        builds_without_trust = config is None and not trusted
        if config is None:
            config = read_checkpoint_config(loaded, trusted)
        elif not isinstance(config, Config):
            config = Config.fromfile(config)
        if isinstance(cfg_options, Mapping):
            config.merge_from_dict(cfg_options)
        else:
            apply_options(config, cfg_options)
        init_default_scope(config.get('default_scope', 'mmdet'))
        detector = build_without_trust(config, loaded) if builds_without_trust else MODELS.build(config.model)
        detector = revert_sync_batchnorm(detector)
    refuse_other_model(detector, config.model.to_dict(), loaded)
    _load_weights(detector, loaded)
    detector.cfg = config
    detector.dataset_meta = describe_training(loaded, config)
    refuse_other_classes(detector, detector.dataset_meta['classes'])
    detector = detector.to(device).eval()
    if torch.device(device).type == 'cpu':
        # Convolutions by Winograd's algorithm return this memory format. It makes the rest of the network faster, too.
        use_winograd(detector.to(memory_format=torch.channels_last))
    if amp:
        choose_precision(detector, True)
    return detector


def _load_weights(detector: nn.Module, checkpoint: dict) -> None:
    state = checkpoint.get('state_dict', checkpoint)
    try:
        detector.load_state_dict({without_wrappers(name): value for name, value in state.items()
                                  if isinstance(value, torch.Tensor)}, strict=False)
    except RuntimeError as error:  # tensors without values, or with values in another layout
        raise DetectorError(f'the weights in the checkpoint cannot be used: {" ".join(str(error).split())}') from error


def describe_training(checkpoint: dict, config: Config) -> dict:
    """Returns the classes, the order of colours and the scale of what a model was trained with.

    Args:
        checkpoint: The loaded checkpoint. If its model was trained with several data sets, their channel order and
            scale count if they are the same in all.
        config: The config of the model, whose test data say what the checkpoint does not.

    Returns:
        'classes', 'channel_order' and 'mpp', as :func:`load_detector` describes them.

    Raises:
        ClassesError: ``metainfo`` in the config names other classes than the checkpoint.
        DetectorError: Neither checkpoint nor config names the classes, or what they say about colours or scale is
            impossible.
    """
    meta = checkpoint.get('meta')
    recorded = meta.get('dataset_meta') if isinstance(meta, dict) else None
    # For joined data sets it is a list. Their labels mean the same classes, but their files may differ in colours.
    if isinstance(recorded, list | tuple):
        parts = [part for part in recorded if isinstance(part, dict)]
        orders = {str(part.get('channel_order')) for part in parts}
        recorded = {**parts[0], 'channel_order': orders.pop() if len(orders) == 1 else None,
                    'mpp': common_mpp([to_mpp(part.get('mpp')) for part in parts])} if parts else None
    dataset = find_test_dataset(config)
    known = [{str(key).lower(): value for key, value in source.items()}
             for source in (recorded, dataset.get('metainfo'), dataset) if isinstance(source, dict)]
    described = {key: next((source[key] for source in known if source.get(key)), None)
                 for key in ('classes', 'channel_order')}
    names = described['classes']
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise DetectorError('neither checkpoint nor config names the classes: --cfg-options '
                            "test_dataloader.dataset.metainfo.classes=\"['first','second']\"")
    declared = dataset['metainfo'].get('classes') if isinstance(dataset.get('metainfo'), dict) else None
    if declared is not None:
        match_classes(declared, names, 'test_dataloader.dataset.metainfo', 'the checkpoint')
    order = described['channel_order'] or 'rgb'
    if order not in CHANNEL_ORDERS:
        raise DetectorError(f'the checkpoint was trained with channel_order {quote(order)}; it must be one of '
                            f'{CHANNEL_ORDERS}')
    return {'classes': tuple(names), 'channel_order': order, 'mpp': _find_scale(known)}


def _find_scale(known: list[dict]) -> float | None:
    """Returns the micrometres per pixel that a model was trained at; the last source that states them counts."""
    stated = [source['mpp'] for source in known if source.get('mpp') is not None]
    if not stated:
        return None
    if not isinstance(stated[-1], int | float) or not is_plausible_mpp(stated[-1]):
        raise DetectorError(f'mpp of the model must be a number from {MIN_MPP} to {MAX_MPP}, got {stated[-1]!r:.40}')
    return float(stated[-1])


def find_test_dataset(config: Config) -> dict:
    """Returns the settings of the test data in a config, of joined ones the first; an empty dict if it has none."""
    return first_leaf(config, 'test_dataloader')
