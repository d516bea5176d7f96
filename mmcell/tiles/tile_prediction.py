"""Predicts tiles with a detector that treats each tile as an image."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def predict_tiles(detector: nn.Module, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]],
                  scale_xy: tuple[float, float], upscale: float, metainfo: dict) -> list[InstanceData]:
    """Predicts tiles as if each tile were an image.

    Args:
        detector: A module with MMDetection's ``test_step``.
        images: The pixels of each tile, (3, h, w) uint8, as a test pipeline gives them.
        sizes: (height, width) of each tile in px of the result image, which predictions are made for.
        scale_xy: Pixels of the tiles per pixel of the result image along x and y: the factors by which the test
            pipeline has resized the image.
        upscale: Factor by which each tile is enlarged in addition, with bilinear interpolation.
        metainfo: Metainfo of the whole image. Sizes and scale are replaced by those of the tile.

    Returns:
        The ``pred_instances`` of each tile, in px of the tile in the result image.
    """
    enlarged = [enlarge(image, upscale) for image in images]
    samples = [DetDataSample(metainfo={
        **metainfo, 'ori_shape': size, 'img_shape': tuple(larger.shape[1:]),
        'scale_factor': tuple(scale * larger.shape[axis] / image.shape[axis] for scale, axis in zip(
            scale_xy, (2, 1), strict=True))}) for image, larger, size in zip(images, enlarged, sizes, strict=True)]
    predicted = detector.test_step({'inputs': enlarged, 'data_samples': samples})
    return [sample.pred_instances for sample in predicted]


def enlarge(image: Tensor, factor: float) -> Tensor:
    """Resizes an image (3, h, w) uint8 bilinearly, to the nearest whole size; factor 1 returns the image itself."""
    if factor == 1:
        return image
    size = [max(round(side * factor), 1) for side in image.shape[1:]]
    resized = F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=factor < 1)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def batches_of_equal_shape(tiles: Sequence[int], shapes: Sequence[tuple[int, ...]],
                           batch_size: int) -> Iterator[list[int]]:
    """Splits tiles into batches of equal shape, because padding to a larger shape would change predictions.

    Args:
        tiles: Indices of tiles. Their order is kept.
        shapes: The shape of every tile of the grid.
        batch_size: The greatest number of tiles in a batch.

    Yields:
        The indices of the tiles in a batch.
    """
    for _, tiles_of_shape in groupby(tiles, key=lambda tile: tuple(shapes[tile])):
        while batch := list(islice(tiles_of_shape, batch_size)):
            yield batch
