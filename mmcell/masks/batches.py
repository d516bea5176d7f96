"""Puts crops of many sizes into batches of crops of similar size, so that a batch contains little padding."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# The greatest number of pixels of the crops in one batch. It bounds the memory; a larger crop is a batch by itself.
BATCH_PX = 1 << 19


class CropBatch(NamedTuple):
    """Crops of similar size.

    Attributes:
        index: (K_batch,) int64, the indices of the crops, on the device where the crops are made.
        index_on_cpu: The same indices on the CPU.
        size: The two sides in px that are needed to hold each of the crops.
    """

    index: Tensor
    index_on_cpu: Tensor
    size: tuple[int, int]


def batches_of_similar_size(n_px: Tensor, device: torch.device | None = None) -> Iterator[CropBatch]:
    """Puts crops into batches by the powers of two that their two sides are rounded up to.

    The sizes decide which batches there are, so that the CPU needs them. If they lie on another device, it is waited
    for once, whatever the number of crops.

    Args:
        n_px: (K, 2) integers, the two sides of each crop in px.
        device: Where the crops are made. The default is the device of ``n_px``.

    Yields:
        The batches. Crops without a pixel are in no batch.
    """
    sizes = n_px.cpu()
    with_pixels = torch.nonzero((sizes > 0).all(dim=1)).flatten()
    # Crops of [5, 9], [100, 10], [7, 16], [0, 4] and [8, 12] px: the one at index 3 has no pixel. Of the others the
    # rounded logarithms are [3, 4], [7, 4], [3, 4] and [3, 4], so that there are two groups. Crops 0, 2 and 4 are
    # padded to their greatest sides (8, 16), crop 1 keeps (100, 10).
    octaves = sizes[with_pixels].double().log2().ceil()
    groups, group_of_crop = octaves.unique(dim=0, return_inverse=True)
    on_cpu, batch_sizes = [], []
    for group in range(len(groups)):
        members = with_pixels[group_of_crop == group]
        first, second = sizes[members].amax(dim=0).tolist()
        batches = members.split(max(1, BATCH_PX // (first * second)))
        on_cpu += batches
        batch_sizes += [(first, second)] * len(batches)
    if on_cpu:
        # All indices are sent at once, and the device is not waited for.
        index = torch.cat(on_cpu).to(n_px.device if device is None else device, non_blocking=True)
        yield from map(CropBatch, index.split([len(batch) for batch in on_cpu]), on_cpu, batch_sizes)
