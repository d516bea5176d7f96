"""Prediction of tiles by a detector that knows nothing of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def predict_tiles(detector: nn.Module, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]],
                  scale_xy: tuple[float, float], upscale: float, metainfo: dict) -> list[InstanceData]:
    """Predicts tiles as if each were an image.

    Args:
        detector: has MMDetection's ``test_step``.
        images: (3, h, w) uint8 each, as a test pipeline gives them.
        sizes: (height, width) of each tile in px of the image that results are for.
        scale_xy: px of the tiles for one px of that image: what it was resized by.
        upscale: each tile is enlarged so many times more, bilinearly.
        metainfo: of the whole image; sizes and scale are replaced.

    Returns:
        pred_instances of each tile, in px of its size.
    """
    enlarged = [enlarge(image, upscale) for image in images]
    samples = [DetDataSample(metainfo={
        **metainfo, 'ori_shape': size, 'img_shape': tuple(larger.shape[1:]),
        'scale_factor': tuple(scale * larger.shape[axis] / image.shape[axis] for scale, axis in zip(
            scale_xy, (2, 1), strict=True))}) for image, larger, size in zip(images, enlarged, sizes, strict=True)]
    predicted = detector.test_step({'inputs': enlarged, 'data_samples': samples})
    return [sample.pred_instances for sample in predicted]


def enlarge(image: Tensor, factor: float) -> Tensor:
    """An image (3, h, w) uint8 resampled bilinearly to the nearest whole size; factor 1 gives the image itself."""
    if factor == 1:
        return image
    size = [max(round(side * factor), 1) for side in image.shape[1:]]
    resized = F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=factor < 1)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def batches_of_equal_shape(tiles: Sequence[int], shapes: Sequence[tuple[int, ...]],
                           batch_size: int) -> Iterator[list[int]]:
    """Splits tiles, in their order, into batches of one shape: padding to a larger one would change predictions."""
    for _, run in groupby(tiles, key=lambda tile: tuple(shapes[tile])):
        while batch := list(islice(run, batch_size)):
            yield batch
