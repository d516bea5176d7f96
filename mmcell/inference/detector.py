"""Loads detectors from checkpoints, and predicts images with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import Registry, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.structures import InstanceData
from torch import nn

from mmcell.checkpoints.config import build_without_trust, read_checkpoint_config
from mmcell.checkpoints.fit import refuse_other_classes, refuse_other_model, refuse_other_weights, without_wrappers
from mmcell.checkpoints.records import content_of
from mmcell.checkpoints.weights import find_checkpoint
from mmcell.classes.matching import match_classes
from mmcell.datasets.colors import input_order
from mmcell.errors import MmcellError
from mmcell.framework.safe_loading import trusting_checkpoints
from mmcell.images.image_file import CHANNEL_ORDERS
from mmcell.models import TiledDetector
from mmcell.settings.options import apply_options


class DetectorError(MmcellError):
    """No detector can be made from a checkpoint; the message says why."""


def load_detector(checkpoint: str | Path, config: str | Path | Config | None = None, device: str = 'cpu',
                  cfg_options: dict | Sequence[str] = (), trusted: bool = False) -> nn.Module:
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

    Returns:
        The model that the config describes, in evaluation mode, with two attributes that MMDetection's
        ``init_detector`` sets as well: ``cfg`` is the config. ``dataset_meta`` is a dict with 'classes', a tuple of
        names, and 'channel_order', the order of the colours ('rgb' or 'bgr') in the files of the training data.

    Raises:
        CheckpointConfigError: No config was given, and the checkpoint has none that can be used.
        ClassesError: ``metainfo`` in the config names other classes than the checkpoint.
        DetectorError: Neither checkpoint nor config names the classes.
        FitError: The weights belong to another model, or mean something else in the model of the config, or its heads
            have another number of classes than there are names.
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
    refuse_other_weights(detector, loaded)
    refuse_other_model(config.model.to_dict(), content_of(loaded))
    _load_weights(detector, loaded)
    detector.cfg = config
    detector.dataset_meta = _describe_training(loaded, config)
    refuse_other_classes(detector, detector.dataset_meta['classes'])
    return detector.to(device).eval()


def _load_weights(detector: nn.Module, checkpoint: dict) -> None:
    state = checkpoint.get('state_dict', checkpoint)
    try:
        detector.load_state_dict({without_wrappers(name): value for name, value in state.items()
                                  if isinstance(value, torch.Tensor)}, strict=False)
    except RuntimeError as error:  # tensors without values, or with values in another layout
        raise DetectorError(f'the weights in the checkpoint cannot be used: {" ".join(str(error).split())}') from error


def _describe_training(checkpoint: dict, config: Config) -> dict:
    meta = checkpoint.get('meta')
    recorded = meta.get('dataset_meta') if isinstance(meta, dict) else None
    # For joined data sets it is a list. Their labels mean the same classes, but their files may differ in colours.
    if isinstance(recorded, list | tuple):
        parts = [part for part in recorded if isinstance(part, dict)]
        orders = {str(part.get('channel_order')) for part in parts}
        recorded = {**parts[0], 'channel_order': orders.pop() if len(orders) == 1 else None} if parts else None
    dataset = _test_dataset(config)
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
        raise DetectorError(f'the checkpoint was trained with channel_order {order!r}; it must be one of '
                            f'{CHANNEL_ORDERS}')
    return {'classes': tuple(names), 'channel_order': order}


def _test_dataset(config: Config) -> dict:
    dataset = config.test_dataloader.get('dataset')
    return dataset if isinstance(dataset, dict) else {}


def _build(registry: Registry, settings: dict, key: str) -> object:
    """Builds a part of a config.

    Raises:
        DetectorError: The settings do not fit the class; the message names the key of the config.
        MmcellError: The class itself refuses the settings.
    """
    try:
        return registry.build(settings)
    except MmcellError:
        raise
    # Wrong arguments make a constructor fail in any way.
    except Exception as error:
        raise DetectorError(f'{key} of the config cannot be built: {" ".join(str(error).split())}') from error


def add_views(detector: nn.Module) -> nn.Module:
    """Returns the detector with the test-time augmentation of its config's ``tta_model``.

    Without ``tta_model`` in the config, the views are all flips and quarter turns. If the detector predicts tiles, the
    views are views of tiles. A ``tta_pipeline`` in the config is not used.

    Raises:
        MmcellError: The masks of this detector cannot be averaged over views.
    """
    settings = detector.cfg.get('tta_model') or {}
    if not isinstance(settings, dict):
        raise DetectorError(f'tta_model of the config must be a dict, got {settings!r:.60}')
    settings = {'type': 'MaskTTAModel', **settings}
    if isinstance(detector, TiledDetector):
        detector.detector = _build(MODELS, {**settings, 'module': detector.detector}, 'tta_model')
        return detector
    return _like(_build(MODELS, {**settings, 'module': detector}, 'tta_model'), detector)


def add_tiles(detector: nn.Module, **settings: float) -> TiledDetector:
    """Makes a detector predict in tiles. The settings replace the settings of a detector that already has tiles.

    Args:
        detector: The detector, with the attributes that :func:`load_detector` gives it.
        settings: Arguments of :class:`TiledDetector`.

    Raises:
        ValueError: An argument of :class:`TiledDetector` is out of its range.
    """
    inner = detector.detector if isinstance(detector, TiledDetector) else detector
    return _like(TiledDetector(inner, **settings), detector)


def _like(wrapper: nn.Module, detector: nn.Module) -> nn.Module:
    wrapper.cfg, wrapper.dataset_meta = detector.cfg, detector.dataset_meta
    return wrapper.eval()


class ImagePredictor:
    """Predicts arrays with a detector, through the test pipeline of its config.

    Args:
        detector: A detector from :func:`load_detector`, also with views or tiles.

    Attributes:
        percentiles: (low, high) of the contrast stretch that the pipeline's ``LoadTiff`` makes when it reads a file;
            None for no stretch. This class does not stretch the contrast of arrays.
        is_rgb: Whether the pipeline expects the colours in the order red, green, blue; otherwise blue, green, red.
        keeps_size: Whether the pipeline leaves the image as it was loaded, so that a tile has the same pixels by itself
            and in the whole image.

    Raises:
        DetectorError: There is no pipeline, it does not begin with a transform that loads an image, or a transform
            cannot be built.
    """

    def __init__(self, detector: nn.Module) -> None:
        self.detector = detector
        pipeline = _test_dataset(detector.cfg).get('pipeline')
        if not pipeline or not all(isinstance(transform, dict) and 'type' in transform for transform in pipeline):
            raise DetectorError('test_dataloader.dataset.pipeline of the config must be a list of transforms, got '
                                f'{pipeline!r:.60}')
        loader, *others = pipeline
        kind = loader['type'] if isinstance(loader['type'], str) else loader['type'].__name__
        if not kind.split('.')[-1].startswith('Load'):
            raise DetectorError(f'the test pipeline begins with {kind}, but must begin with a transform that loads an '
                                'image')
        self.is_rgb = input_order(detector.cfg) == 'rgb'
        self.percentiles = loader.get('percentiles')
        # There are no annotations to load for an array.
        self.pipeline = Compose([_build(TRANSFORMS, transform, 'test_dataloader.dataset.pipeline')
                                 for transform in others if 'Annotations' not in str(transform['type'])])
        self.keeps_size = len(self.pipeline.transforms) == 1

    def __call__(self, image: np.ndarray) -> InstanceData:
        """Predicts the cells of an image.

        Args:
            image: (H, W, 3) uint8 in the order red, green, blue, as :func:`mmcell.read_image` returns it.

        Returns:
            MMDetection's ``pred_instances``: bboxes (N, 4) in xyxy, px of the image; scores (N,); labels (N,) from 0;
            masks of the size of the image, as N RLEs, or as (N, H, W) bool if the mask head is MMDetection's own.
        """
        shape = image.shape[:2]
        sample = self.pipeline({
            'img': image if self.is_rgb else np.ascontiguousarray(image[:, :, ::-1]), 'img_id': 0, 'img_path': '',
            'img_shape': shape, 'ori_shape': shape, 'scale_factor': (1., 1.)})
        with torch.no_grad():
            return self.detector.test_step(pseudo_collate([sample]))[0].pred_instances
