"""Prediction in overlapping tiles."""

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmcell.cells.cells import Cells
from mmcell.errors import MmcellError
from mmcell.tiles.seams import SeamStitcher
from mmcell.tiles.tile_limits import ALIGN_PX, BORDER_PX, OVERLAP_PX, refuse_wrong_tiles
from mmcell.tiles.tiling import TileGrid, make_grid


@MODELS.register_module()
class TiledDetector(BaseModel):
    """Wraps a detector: large images are predicted tile by tile, and each cell at a seam is reported once and whole.

    :mod:`mmcell.tiles.seams` describes how cells at seams are decided. An image that fits into one tile is given to the
    detector unchanged (if ``upscale`` is 1), so that its prediction equals the detector's own. Tiles are cut after the
    test pipeline: if the pipeline resizes images (for example to a longest side), all tiles have the scale of the whole
    resized image. Results are in px of the image before resizing. Detections are sorted by score, without a limit for
    the whole image. Masks of images that are cut are COCO RLEs, and detections whose mask has no pixel are left out.

    Training trains the detector on whole samples, without tiles. Checkpoints contain the parameter names of the
    detector, so that the same checkpoint loads with and without tiles.

        model = dict(_delete_=True, type='TiledDetector', detector={{_base_.model}}, tile_px=512, overlap_px=128)

    Args:
        detector: Config of a detector, or a built module with MMDetection's ``test_step``, whose predictions have
            masks.
        tile_px: Side of a tile, in px after the test pipeline.
        overlap_px: Smallest overlap of neighbouring tiles. Cells larger than the overlap minus twice ``border_px`` may
            lie completely in no tile; they are united from parts.
        batch_size: Number of tiles that are predicted at once.
        upscale: Factor by which every tile is enlarged before prediction, even if the image is a single tile.
        border_px: Cells that come this close to a seam, in px of the results, count as cut and are taken from the
            neighbouring tile, because the mask of a cell that the seam cuts may end shortly before the seam. Must be
            positive; otherwise cells that end exactly at a seam would not count as cut.
        align_px: Corners of tiles are multiples of this number of px. If it is the largest stride of the detector,
            features away from seams equal the features of the whole image.

    Raises:
        ValueError: A size, ``batch_size`` or ``upscale`` is out of its range.
    """

    def __init__(self, detector: dict | nn.Module, tile_px: int = 512, overlap_px: int = OVERLAP_PX,
                 batch_size: int = 1, upscale: float = 1., border_px: float = BORDER_PX,
                 align_px: int = ALIGN_PX) -> None:
        detector = MODELS.build(detector) if isinstance(detector, dict) else detector
        super().__init__(data_preprocessor=getattr(detector, 'data_preprocessor', None))
        self.detector = detector
        self.tile_px, self.overlap_px, self.align_px = tile_px, overlap_px, align_px
        self.batch_size, self.upscale, self.border_px = batch_size, upscale, border_px
        refuse_wrong_tiles(tile_px, overlap_px, batch_size, upscale, border_px, align_px)
        self._register_load_state_dict_pre_hook(self._add_prefix)

    def make_grid(self, input_size: tuple[int, int], result_size: tuple[int, int] | None = None) -> TileGrid:
        """Lays tiles over an image of a size (height, width); see :func:`mmcell.tiles.tiling.make_grid`."""
        return make_grid(*input_size, self.tile_px, self.overlap_px, self.align_px, result_size)

    @property
    def tile_settings(self) -> dict[str, float]:
        """Arguments of this class that decide where tiles lie and what happens at seams, by name."""
        return {name: getattr(self, name) for name in ('tile_px', 'overlap_px', 'upscale', 'border_px', 'align_px')}

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Predicts a batch as a data loader gives it, before preprocessing.

        Args:
            data: Dictionary with ``inputs``, N images (3, H, W) uint8, and their N ``data_samples``.

        Returns:
            The N data samples, with ``pred_instances`` in px of the images before resizing.

        Raises:
            MmcellError: The inputs are views of images that a ``tta_pipeline`` has made.
        """
        if not isinstance(data['inputs'][0], Tensor):
            raise MmcellError('TiledDetector cannot cut the views of a tta_pipeline: remove the tta_pipeline, and wrap '
                              'a MaskTTAModel, which makes the views of each tile, as the detector')
        if not any(map(self.cuts, data['inputs'])):
            return self.detector.test_step(data)
        return [self._predict_image(image, sample)
                for image, sample in zip(data['inputs'], data['data_samples'], strict=True)]

    def val_step(self, data: dict) -> list[DetDataSample]:
        """Predicts a batch exactly as :meth:`test_step` does."""
        return self.test_step(data)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Trains the detector for one step with whole samples and returns its losses."""
        return self.detector.train_step(data, optim_wrapper)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> object:
        """Calls the detector's own ``forward``, except for predictions, which start at :meth:`test_step`.

        Raises:
            NotImplementedError: The mode is 'predict'.
        """
        if mode == 'predict':
            raise NotImplementedError("TiledDetector has no mode 'predict', because tiles are cut before "
                                      'preprocessing: call test_step')
        return self.detector(inputs, data_samples, mode=mode)

    def cuts(self, image: Tensor) -> bool:
        """Says whether an image (3, H, W) is cut or enlarged; if not, the detector predicts it as if without tiles."""
        return self.upscale != 1 or max(image.shape[-2:]) > self.tile_px

    def predict_cells(self, image: Tensor, sample: DetDataSample) -> tuple[Cells, list[np.ndarray]]:
        """Predicts an image in tiles.

        Args:
            image: (3, H, W) uint8, after the test pipeline.
            sample: Its data sample.

        Returns:
            The cells, best score first, in px of the image before resizing; and the scores (n,) of the detections in
            each tile, before seams are resolved.
        """
        grid = self.make_grid(tuple(image.shape[-2:]), tuple(sample.ori_shape[:2]))
        stitcher = SeamStitcher(grid, self.border_px)
        final_cells, scores_per_tile = [], []
        for batch in grid.batches_of_equal_shape(range(len(grid)), self.batch_size):
            crops = [image[..., y0:y1, x0:x1] for x0, y0, x1, y1 in grid.input_rects_xyxy[batch]]
            for tile, cells in zip(batch, self.predict_crops(crops, batch, grid, sample.metainfo), strict=True):
                final_cells.append(stitcher.add(tile, cells))
                scores_per_tile.append(cells.scores)
        return Cells.concatenate(final_cells).best_first(), scores_per_tile

    def _predict_image(self, image: Tensor, sample: DetDataSample) -> DetDataSample:
        if not self.cuts(image):
            return self.detector.test_step({'inputs': [image], 'data_samples': [sample]})[0]
        cells, _ = self.predict_cells(image, sample)
        sample.pred_instances = cells.to_instances().to(next(self.parameters()).device)
        return sample

    @torch.no_grad()
    def predict_crops(self, crops: list[Tensor], tiles: list[int], grid: TileGrid, metainfo: dict) -> list[Cells]:
        """Predicts some tiles of an image with the detector, as if each tile were an image.

        Args:
            crops: Pixels of the tiles as a test pipeline gives them, (3, h, w) uint8 each, all of the same shape.
            tiles: Indices of these tiles in the grid.
            grid: All tiles of the image.
            metainfo: Meta information of the image's data sample. Sizes and scale are replaced by those of the tile.
                With ``min_score``, cells with a lower score may be left out where no other tile sees them.

        Returns:
            The cells of each tile, in px of the result image, before seams are resolved.

        Raises:
            ValueError: The detector predicts no masks.
        """
        rects, enlarged = grid.rects_xyxy[tiles], [_enlarge(crop, self.upscale) for crop in crops]
        samples = []
        for tile, crop, larger, (x0, y0, x1, y1) in zip(tiles, crops, enlarged, rects.tolist(), strict=True):
            scale_factor = tuple(scale * larger.shape[axis] / crop.shape[axis]
                                 for scale, axis in zip(grid.scale_xy, (2, 1), strict=True))
            samples.append(DetDataSample(metainfo={
                **metainfo, 'ori_shape': (y1 - y0, x1 - x0), 'img_shape': tuple(larger.shape[1:]),
                'scale_factor': scale_factor, 'unshared_xyxy': grid.unshared_xyxy(tile).tolist()}))
        predicted = self.detector.test_step({'inputs': enlarged, 'data_samples': samples})
        return [Cells.from_instances(sample.pred_instances, grid.height, grid.width, rect)
                for sample, rect in zip(predicted, rects, strict=True)]

    def state_dict(self, *args: object, **kwargs: object) -> dict:
        """Returns the detector's own state, so that a checkpoint fits with and without tiles."""
        return self.detector.state_dict(*args, **kwargs)

    def _add_prefix(self, state_dict: dict, prefix: str, *unused: object) -> None:
        # Checkpoints hold 'backbone.conv1.weight', but this module's parameter is 'detector.backbone.conv1.weight'.
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f'{prefix}detector.{key[len(prefix):]}'] = state_dict.pop(key)


def _enlarge(image: Tensor, factor: float) -> Tensor:
    """Resizes an image (3, h, w) uint8 bilinearly, to the nearest whole size; factor 1 returns the image itself."""
    if factor == 1:
        return image
    size = [max(round(side * factor), 1) for side in image.shape[1:]]
    resized = F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=factor < 1)
    return resized[0].round().clamp(0, 255).to(torch.uint8)
