"""Masks from RLEs, decoded by pycocotools."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask


def paint_rles(rles: Sequence[dict], ids: Sequence[int] | None = None) -> np.ndarray:
    """Paints N masks of one size into a label map (H, W) int32 with the ids 1 to N, or others; later masks cover."""
    label_map = np.zeros(rles[0]['size'], np.int32)
    for mask_id, rle in zip(range(1, len(rles) + 1) if ids is None else ids, rles, strict=True):
        label_map[pycocotools.mask.decode(rle) > 0] = mask_id
    return label_map
