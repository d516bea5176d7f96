"""Crops of many sizes in batches of like size, so that little of a batch is padding."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Pixels of the crops in one batch: a bound on memory.
BATCH_PX = 1 << 19


def batches_of_like_size(n_px: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Puts crops into batches by the octaves of their two sides.

    Args:
        n_px: (K, 2) integers, the two sides of each crop in px.

    Yields:
        The indices of a batch, on the device of ``n_px``, and the two sides that hold its crops. Crops without a pixel
        are in no batch.
    """
    sizes = n_px.cpu()
    with_pixels = torch.nonzero((sizes > 0).all(dim=1)).flatten()
    octaves = sizes[with_pixels].double().log2().ceil()
    kinds, kind_of = octaves.unique(dim=0, return_inverse=True)
    for kind in range(len(kinds)):
        members = with_pixels[kind_of == kind]
        first, second = sizes[members].amax(dim=0).tolist()
        for batch in members.split(max(1, BATCH_PX // (first * second))):
            yield batch.to(n_px.device), (first, second)
