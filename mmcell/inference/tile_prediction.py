"""Prediction of tiles by a detector that knows nothing of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def predict_tiles(detector: nn.Module, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]],
                  metainfo: dict, upscale: float) -> list[InstanceData]:
    """Predicts tiles as if each were an image.

    Args:
        detector: has MMDetection's ``test_step``.
        images: (3, h, w) uint8 each, as a test pipeline gives them.
        sizes: (height, width) of each tile in px of the image that results are for.
        metainfo: of the whole image; sizes and scale are replaced.
        upscale: each tile is enlarged so many times, bilinearly.

    Returns:
        pred_instances of each tile, in px of its size.
    """
    samples = []
    enlarged = [enlarge(image, upscale) for image in images]
    for image, (height, width) in zip(enlarged, sizes, strict=True):
        shape = tuple(image.shape[1:])
        samples.append(DetDataSample(metainfo={
            **metainfo, 'ori_shape': (height, width), 'img_shape': shape,
            'scale_factor': (shape[1] / width, shape[0] / height)}))
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
