"""Batches of tiles for a detector that treats each tile as an image."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.tiles.tiling import TileGrid


def batches_of_equal_shape(tiles: Sequence[int], grid: TileGrid, batch_size: int) -> Iterator[list[int]]:
    """Splits tiles into batches of equal shape, because padding to a larger shape would change predictions.

    Args:
        tiles: Indices of tiles. Their order is kept.
        grid: All tiles of the image.
        batch_size: The greatest number of tiles in a batch.

    Yields:
        The indices of the tiles in a batch.
    """
    shapes = (grid.input_rects_xyxy[:, 2:] - grid.input_rects_xyxy[:, :2]).tolist()
    for _, tiles_of_shape in groupby(tiles, key=shapes.__getitem__):
        while batch := list(islice(tiles_of_shape, batch_size)):
            yield batch


def enlarge(image: Tensor, factor: float) -> Tensor:
    """Resizes an image (3, h, w) uint8 bilinearly, to the nearest whole size; factor 1 returns the image itself."""
    if factor == 1:
        return image
    size = [max(round(side * factor), 1) for side in image.shape[1:]]
    resized = F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=factor < 1)
    return resized[0].round().clamp(0, 255).to(torch.uint8)
