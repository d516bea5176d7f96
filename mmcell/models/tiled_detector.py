"""Prediction in overlapping tiles."""

from collections.abc import Callable
from math import inf

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.errors import MmcellError
from mmcell.tiles.seams import SeamStitcher
from mmcell.tiles.tile_cells import cells_of_tile, concatenate_cells, no_cells, to_instances
from mmcell.tiles.tile_prediction import batches_of_equal_shape, predict_tiles
from mmcell.tiles.tiling import TileGrid, make_grid


@MODELS.register_module()
class TiledDetector(BaseModel):
    """Wraps a detector: large images are predicted tile by tile, and each cell at a seam is taken once and whole.

    What decides at the seams is told in :mod:`mmcell.tiles.seams`. An image that fits into a tile is passed on as
    it is: its prediction is the detector's own. Tiles are cut from what the test pipeline gives, so that they have the
    scale of the whole image, which a pipeline that resizes (to a longest side, say) would not give each of them;
    results are in px of the image before that. Detections are in the order of their scores, without a limit for the
    whole image; masks are COCO RLEs, and those without a pixel are left out.

    In training the detector itself is trained, on whole samples; checkpoints have its names, with and without tiles.

        model = dict(_delete_=True, type='TiledDetector', detector={{_base_.model}}, tile_px=512, overlap_px=128)

    Args:
        detector: config, or a built module with MMDetection's ``test_step``, whose predictions have masks.
        tile_px: side of a tile, in px after the test pipeline.
        overlap_px: the least that neighbours share. Cells larger than it (less twice ``border_px``) may be in no tile
            as a whole, and are put together from parts.
        batch_size: tiles predicted at once.
        upscale: tiles are enlarged so many times, also an image that is one tile alone.
        border_px: cells so near to a seam are taken from the neighbour: masks of cut cells may end before the seam.
            Above 0, or cells that end at a seam would not count as cut.
        align_px: corners of tiles are multiples of it; at the largest stride of the detector, features away from
            seams are those of the whole image.

    Attributes:
        see: called by ``test_step`` with what was found in each tile, before seams are looked at, and in each image
            that is not cut; None for nothing.
    """

    see: Callable[[InstanceData], None] | None = None

    def __init__(self, detector: dict | nn.Module, tile_px: int = 512, overlap_px: int = 128, batch_size: int = 1,
                 upscale: float = 1., border_px: float = 4., align_px: int = 32) -> None:
        detector = MODELS.build(detector) if isinstance(detector, dict) else detector
        super().__init__(data_preprocessor=getattr(detector, 'data_preprocessor', None))
        self.detector = detector
        self.tile_px, self.overlap_px, self.align_px = tile_px, overlap_px, align_px
        self.batch_size, self.upscale, self.border_px = batch_size, upscale, border_px
        self.make_grid((tile_px, tile_px))
        if not 0 < 2 * border_px <= overlap_px:
            raise ValueError(f'border_px above 0, and overlap_px at least twice as much, expected, got {border_px:g} '
                             f'and {overlap_px}')
        if batch_size < 1 or not 0 < upscale < inf:
            raise ValueError(f'batch_size from 1 and a finite upscale above 0 expected, got {batch_size} and {upscale}')
        self._register_load_state_dict_pre_hook(self._add_prefix)

    def make_grid(self, input_size: tuple[int, int], result_size: tuple[int, int] | None = None) -> TileGrid:
        """The tiles of an image of (height, width); see :func:`mmcell.tiles.tiling.make_grid`."""
        return make_grid(*input_size, self.tile_px, self.overlap_px, self.align_px, result_size)

    @property
    def tile_settings(self) -> dict[str, float]:
        """What decides about tiles and seams."""
        return {name: getattr(self, name) for name in ('tile_px', 'overlap_px', 'upscale', 'border_px', 'align_px')}

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Predicts a batch as a data loader gives it, before preprocessing.

        Args:
            data: inputs, N images (3, H, W) uint8; data_samples.

        Returns:
            The N data samples, with ``pred_instances`` in px of the images before resizing.

        Raises:
            MmcellError: the data are the views of a ``tta_pipeline``.
        """
        if not isinstance(data['inputs'][0], Tensor):
            raise MmcellError('TiledDetector cuts images, not the views of a tta_pipeline; the detector inside may be '
                              'a MaskTTAModel, which makes the views of each tile')
        if self.upscale == 1 and all(max(image.shape[-2:]) <= self.tile_px for image in data['inputs']):
            return self._predict_whole(data)
        return [self._predict_image(image, sample)
                for image, sample in zip(data['inputs'], data['data_samples'], strict=True)]

    def val_step(self, data: dict) -> list[DetDataSample]:
        """As :meth:`test_step`."""
        return self.test_step(data)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """The detector's own."""
        return self.detector.train_step(data, optim_wrapper)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> object:
        """The detector's own, but for predictions: those begin at :meth:`test_step`.

        Raises:
            NotImplementedError: mode 'predict'.
        """
        if mode == 'predict':
            raise NotImplementedError('TiledDetector predicts from test_step: tiles are cut before preprocessing')
        return self.detector(inputs, data_samples, mode=mode)

    def _predict_whole(self, data: dict) -> list[DetDataSample]:
        samples = self.detector.test_step(data)
        self._show([sample.pred_instances for sample in samples])
        return samples

    def _show(self, found: list[InstanceData]) -> None:
        for instances in found if self.see is not None else ():
            self.see(instances)

    def _predict_image(self, image: Tensor, sample: DetDataSample) -> DetDataSample:
        if self.upscale == 1 and max(image.shape[-2:]) <= self.tile_px:
            return self._predict_whole({'inputs': [image], 'data_samples': [sample]})[0]
        grid = self.make_grid(tuple(image.shape[-2:]), tuple(sample.ori_shape[:2]))
        stitcher = SeamStitcher(grid, self.border_px)
        found = no_cells(grid.height)
        x0, y0, x1, y1 = grid.input_rects_xyxy.T
        shapes = np.stack([y1 - y0, x1 - x0], axis=1).tolist()
        for batch in batches_of_equal_shape(range(len(grid)), shapes, self.batch_size):
            crops = [image[..., y0[tile]:y1[tile], x0[tile]:x1[tile]] for tile in batch]
            of_batch = self.predict_crops(crops, batch, grid, sample.metainfo)
            self._show(of_batch)
            for tile, instances in zip(batch, of_batch, strict=True):
                device = instances.scores.device
                found = concatenate_cells(found, stitcher.add(tile, cells_of_tile(instances, tile, grid)))
        found = found.take(np.argsort(-found.scores, kind='stable'))
        sample.pred_instances = to_instances(found, grid.width).to(device)
        return sample

    @torch.no_grad()
    def predict_crops(self, crops: list[Tensor], tiles: list[int], grid: TileGrid,
                      metainfo: dict) -> list[InstanceData]:
        """What the detector finds in some tiles, each in px of the tile.

        Args:
            crops: (3, h, w) uint8 each, of one shape.
            tiles: their indices in the grid.
            grid: of the image.
            metainfo: of the image.
        """
        rects = grid.rects_xyxy[tiles]
        sizes = [(int(y1 - y0), int(x1 - x0)) for x0, y0, x1, y1 in rects]
        return predict_tiles(self.detector, crops, sizes, grid.scale_xy, self.upscale, metainfo)

    def state_dict(self, *args: object, **kwargs: object) -> dict:
        """The detector's own, so that a checkpoint fits with and without tiles."""
        return self.detector.state_dict(*args, **kwargs)

    def _add_prefix(self, state_dict: dict, prefix: str, *unused: object) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f'{prefix}detector.{key[len(prefix):]}'] = state_dict.pop(key)
