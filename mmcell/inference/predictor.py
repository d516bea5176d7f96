"""Predicts images with a detector, in the way that a plan says."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.dataset import pseudo_collate
from mmengine.registry import Registry
from torch import nn

from mmcell.cells.cells import Cells
from mmcell.cells.regions import Regions
from mmcell.datasets.colors import input_order
from mmcell.errors import MmcellError
from mmcell.images.background import shows_only_glass
from mmcell.images.image_file import ImageFile
from mmcell.images.scale import find_rescaling, to_mpp
from mmcell.inference.detection_limit import find_limit
from mmcell.inference.detector import DetectorError, find_test_dataset
from mmcell.inference.huge_images import predict_huge_image
from mmcell.inference.prediction_plan import (
    DEFAULT_TILE_PX,
    PredictionPlan,
    default_tile_px,
    prediction_plan,
    tile_side_px,
)
from mmcell.inference.progress import Report
from mmcell.models import MaskTTAModel, TiledDetector
from mmcell.tiles.tile_limits import ALIGN_PX, BORDER_PX, OVERLAP_PX

# Tiles of images that are enlarged overlap by so many px of the image at least.
_LEAST_OVERLAP_PX = 16
_LEAST_TILE_PX = 64


@dataclass(frozen=True)
class DetectedCells:
    """The cells that a detector has found in an image, or in a part of it.

    Attributes:
        cells: The cells, in px of the image.
        scores_at_limit: (F,) float32. For each image or tile for which the model returned as many detections as its
            limit allows, the lowest score of these detections.
        done_above_px: The row of the image above which no pixel of cells in later parts lies; the height of the image
            if there are no later parts.
    """

    cells: Cells
    scores_at_limit: np.ndarray
    done_above_px: int

    def reached_limit(self, min_score: float) -> bool:
        """Says whether cells with at least a score are probably missing, because the model reached its limit."""
        return bool((self.scores_at_limit >= min_score).any())


class Predictor:
    """A detector with its test pipeline, its views and its tiles.

    Args:
        detector: What :func:`mmcell.inference.detector.load_detector` returned. It is not changed.
        with_views: Whether to predict the views of ``tta_model`` of the config, or all flips and quarter turns if the
            config has no ``tta_model``, and merge them. Images that are predicted in tiles have views of each tile. A
            ``tta_pipeline`` in the config is not used.
        tile_px: Side in px of the tiles in which all images are predicted. None: the tiles of the config; if the config
            has none, :func:`mmcell.inference.prediction_plan.prediction_plan` decides.
        tile_options: Other arguments of :class:`mmcell.models.TiledDetector`, for all tiles.

    Attributes:
        config: The config of the detector.
        model: The detector, inside the model that makes its views, if it has views, and without tiles.
        class_names: Names of the classes; a label is an index of this list.
        channel_order: Order of the colours ('rgb' or 'bgr') in the files of the training data.
        mpp: Micrometres per pixel of what the model was shown in the training; None if not known, or if the pipeline
            resizes images.
        percentiles: (low, high) of the contrast stretch that the pipeline's ``LoadTiff`` makes when it reads a file;
            None for no stretch. This class does not stretch the contrast of images.
        tile_px: Side of the tiles that the argument or the config wants for all images; None for neither.
        tile_settings: What decides where tiles lie and what happens at their seams, by name.
        limit: How many detections the model returns at most per image or tile.

    Raises:
        DetectorError: The config has no usable test pipeline or views.
        MmcellError: ``tile_options`` are given though the config has tiles, and ``tile_px`` does not replace them; or
            a size or factor of the tiles is out of its range; or the masks of the detector cannot be averaged over
            views.
    """

    def __init__(self, detector: nn.Module, with_views: bool = False, tile_px: int | None = None,
                 **tile_options: float) -> None:
        self.config = detector.cfg
        self.class_names = list(detector.dataset_meta['classes'])
        self.channel_order = detector.dataset_meta['channel_order']
        has_tiles = isinstance(detector, TiledDetector)
        if has_tiles and tile_px is None:
            if tile_options:
                raise MmcellError('the config has tiles: to change them, give --tile, too')
            tile_options = {**detector.tile_settings, 'batch_size': detector.batch_size}
            tile_px = tile_options.pop('tile_px')
        bare = detector.detector if has_tiles else detector
        self.model = _with_views(bare, self.config) if with_views else bare
        self.limit = find_limit(self.model, 'model.detector' if has_tiles else 'model')
        self.tile_px, self._tile_options, self._factor = tile_px, tile_options, 1.
        self._by_factor = {1.: self}
        try:
            self.tile_settings = self._in_tiles(
                default_tile_px(self.n_views) if tile_px is None else tile_px).tile_settings
        except ValueError as error:
            raise MmcellError(f'tile_px, --tile, --overlap, --tile-batch or --upscale: {error}') from error
        self.percentiles, self._pipeline = _read_pipeline(self.config)
        self.mpp = (detector.dataset_meta.get('mpp') or _scale_of_pipeline(self.config)) if self._keeps_size else None
        self._is_rgb = input_order(self.config) == 'rgb'

    @property
    def n_views(self) -> int:
        """Number of views of each image or tile; all their features are in memory together."""
        return len(self.model.views) if isinstance(self.model, MaskTTAModel) else 1

    @property
    def tile_side_px(self) -> int:
        """Side of the tiles in px of the image, if it is predicted in tiles."""
        return tile_side_px(self.n_views, self.tile_px, self._factor)

    @property
    def _keeps_size(self) -> bool:
        """Whether a tile has the same pixels by itself and in the whole image, because the pipeline only packs it."""
        return len(self._pipeline.transforms) == 1

    def rescaling(self, factor: float) -> 'Predictor':
        """Returns a predictor that enlarges images by a factor, and gives cells in px of the images as they are.

        Tiles and their overlap keep their size after the enlargement.
        """
        if factor not in self._by_factor:
            other = self._by_factor[factor] = copy(self)
            other._factor = factor
            other.tile_settings = other._in_tiles(
                default_tile_px(self.n_views) if self.tile_px is None else self.tile_px, factor).tile_settings
        return self._by_factor[factor]

    def at_scale(self, mpp: float | None) -> 'Predictor':
        """Returns a predictor that brings images of a scale to that of the model, if both are known and differ.

        Args:
            mpp: Micrometres per pixel of the images; None if not known.

        Raises:
            ValueError: The scales differ by an impossible factor.
        """
        return self.rescaling(find_rescaling(mpp, self.mpp))

    def plan(self, size: tuple[int, int], reads_parts: bool = False, formats: Sequence[str] = ()) -> PredictionPlan:
        """Returns how an image is predicted.

        Args:
            size: Height and width of the image in px.
            reads_parts: Whether parts of the image can be read from its file without the rest.
            formats: The output formats that the user wants.
        """
        return prediction_plan(size, n_views=self.n_views, tile_px=self.tile_px, reads_parts=reads_parts,
                               keeps_size=self._keeps_size, formats=formats, factor=self._factor)

    @torch.no_grad()
    def predict(self, image: np.ndarray, plan: PredictionPlan, min_score: float = 0.) -> DetectedCells:
        """Predicts the cells of an image in memory, whole or in tiles.

        Args:
            image: (H, W, 3) uint8 in the order red, green, blue.
            plan: The plan for this image, whose way is 'whole' or 'tiled'.
            min_score: Lowest score of the cells that are needed. Most of the cells with a lower score are left out,
                which saves the time of predicting their masks; the other cells are the same.
        """
        height, width = image.shape[:2]
        data = pseudo_collate([self._pipeline({
            'img': np.ascontiguousarray(self._to_input(image)), 'img_id': 0, 'img_path': '',
            'img_shape': (height, width), 'ori_shape': (height, width), 'scale_factor': (1., 1.)})])
        data['data_samples'][0].set_metainfo({'min_score': min_score})
        tiled = None
        if plan.way == 'tiled' or self._factor != 1:
            tiled = self._in_tiles(max(height, width, DEFAULT_TILE_PX) if plan.way == 'whole' else plan.tile_px,
                                   self._factor)
        if tiled is not None and tiled.cuts(data['inputs'][0]):
            cells, scores_per_tile = tiled.predict_cells(data['inputs'][0], data['data_samples'][0])
        else:
            cells = Cells.from_instances(self.model.test_step(data)[0].pred_instances, height, width)
            scores_per_tile = [cells.scores]
        return DetectedCells(cells, self.limit.scores_at_limit(scores_per_tile), height)

    def stream(self, image: ImageFile, plan: PredictionPlan, journal_folder: Path, *, min_score: float = 0.,
               resume: bool = False, settings: dict | None = None,
               report: Report | None = None,
               regions: Regions | None = None, margin_px: float = 0.,
               skips_glass: bool = False) -> Iterator[DetectedCells]:
        """Reads and predicts an image tile by tile, and yields cells as soon as no later tile can change them.

        Args:
            image: The open image.
            plan: The plan for this image, whose way is 'streamed'.
            min_score: As in :meth:`predict`.
            journal_folder, resume, settings, report: As in
                :func:`mmcell.inference.huge_images.predict_huge_image`, which does the work.
            regions: Tiles far from all regions are left out; None predicts all.
            margin_px: How far from a region cells are needed, too.
            skips_glass: Whether tiles without tissue are left out (:mod:`mmcell.images.background`).
        """
        # A cell of a region may reach beyond it, and beyond a seam.
        is_wanted = None if regions is None else (
            lambda rects_xyxy: regions.are_near(rects_xyxy, self.tile_settings['overlap_px'] + margin_px))
        with image.level_for(1 / self._factor) as level:
            # Tiles are cut from the level, and cells are made in px of the full resolution.
            shrunk = image.width / level.size[1]
            model = self._in_tiles(max(round(plan.tile_px / shrunk), _LEAST_TILE_PX), self._factor * shrunk)
            tiles = predict_huge_image(
                model, (image.height, image.width), lambda *rect_xyxy: self._to_input(level.read(*rect_xyxy)),
                journal_folder, min_score=min_score, resume=resume, settings=settings, report=report,
                expect=level.expect, is_wanted=is_wanted, input_size=level.size,
                is_empty=shows_only_glass if skips_glass else None)
            for tile_cells, cells, done_above_px in tiles:
                scores_at_limit = self.limit.scores_at_limit([tile_cells.scores])
                if len(cells) or len(scores_at_limit):
                    yield DetectedCells(cells, scores_at_limit, done_above_px)

    def _in_tiles(self, tile_px: int, factor: float = 1.) -> TiledDetector:
        """Returns the detector in tiles of a side in px of the input, which is enlarged by a factor."""
        options = dict(self._tile_options)
        if factor != 1:
            options['upscale'] = options.get('upscale', 1.) * factor
            overlap_px = round(options.get('overlap_px', OVERLAP_PX) / factor)
            least_px = max(_LEAST_OVERLAP_PX, ceil(2 * options.get('border_px', BORDER_PX)))
            tile_px = max(tile_px, least_px + ALIGN_PX)
            options['overlap_px'] = min(max(overlap_px, least_px), tile_px - ALIGN_PX)
        return TiledDetector(self.model, tile_px=tile_px, **options).eval()

    def _to_input(self, image: np.ndarray) -> np.ndarray:
        """Returns an RGB image in the order of colours in which the detector's own loader returns images."""
        return image if self._is_rgb else image[:, :, ::-1]


def _with_views(detector: nn.Module, config: dict) -> nn.Module:
    settings = config.get('tta_model') or {}
    if not isinstance(settings, dict):
        raise DetectorError(f'tta_model of the config must be a dict, got {settings!r:.60}')
    return _build(MODELS, {'type': 'MaskTTAModel', **settings, 'module': detector}, 'tta_model').eval()


def _scale_of_pipeline(config: dict) -> float | None:
    """Returns the micrometres per pixel to which the test pipeline of a config resizes images; None if it does not."""
    return next((to_mpp(transform.get('mpp')) for transform in find_test_dataset(config).get('pipeline') or ()
                 if str(transform['type']).endswith('ResizeToScale')), None)


def _read_pipeline(config: dict) -> tuple[Sequence[float] | None, Compose]:
    """Returns the percentiles of the loader of a config's test pipeline, and the transforms that come after it."""
    pipeline = find_test_dataset(config).get('pipeline')
    if not pipeline or not all(isinstance(transform, dict) and 'type' in transform for transform in pipeline):
        raise DetectorError('test_dataloader.dataset.pipeline of the config must be a list of transforms, got '
                            f'{pipeline!r:.60}')
    loader, *others = pipeline
    kind = loader['type'] if isinstance(loader['type'], str) else loader['type'].__name__
    if not kind.split('.')[-1].startswith('Load'):
        raise DetectorError(f'the test pipeline begins with {kind}, but must begin with a transform that loads an '
                            'image')
    # There are no annotations to load for an array. Its scale is not a matter of the pipeline, but of the caller.
    return loader.get('percentiles'), Compose([
        _build(TRANSFORMS, transform, 'test_dataloader.dataset.pipeline')
        for transform in others
        if 'Annotations' not in str(transform['type']) and not str(transform['type']).endswith('ResizeToScale')])


def _build(registry: Registry, settings: dict, key: str) -> object:
    """Builds a part of a config; an error that the class itself does not explain becomes a DetectorError."""
    try:
        return registry.build(settings)
    except MmcellError:
        raise
    # Wrong arguments make a constructor fail in any way.
    except Exception as error:
        raise DetectorError(f'{key} of the config cannot be built: {" ".join(str(error).split())}') from error
