"""Puts crops of many sizes into batches of crops of similar size, so that a batch contains little padding."""

from collections.abc import Iterator

import torch
from torch import Tensor

# The greatest number of pixels of the crops in one batch. It bounds the memory; a larger crop is a batch by itself.
BATCH_PX = 1 << 19


def batches_of_similar_size(n_px: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Puts crops into batches by the powers of two that their two sides are rounded up to.

    Args:
        n_px: (K, 2) integers, the two sides of each crop in px.

    Yields:
        The indices (K_batch,) of the crops in a batch, on the device of ``n_px``, and the two sides in px that are
        needed to hold each of them. Crops without a pixel are in no batch.
    """
    sizes = n_px.cpu()
    with_pixels = torch.nonzero((sizes > 0).all(dim=1)).flatten()
    # Crops of [5, 9], [100, 10], [7, 16], [0, 4] and [8, 12] px: the one at index 3 has no pixel. Of the others the
    # rounded logarithms are [3, 4], [7, 4], [3, 4] and [3, 4], so that there are two groups. Crops 0, 2 and 4 are
    # padded to their greatest sides (8, 16), crop 1 keeps (100, 10).
    octaves = sizes[with_pixels].double().log2().ceil()
    groups, group_of_crop = octaves.unique(dim=0, return_inverse=True)
    for group in range(len(groups)):
        members = with_pixels[group_of_crop == group]
        first, second = sizes[members].amax(dim=0).tolist()
        for batch in members.split(max(1, BATCH_PX // (first * second))):
            yield batch.to(n_px.device), (first, second)
