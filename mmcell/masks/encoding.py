"""Instance masks of any kind that MMDetection and mmcell use, as RLE."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask
from mmdet.structures.mask import BitmapMasks
from torch import Tensor

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.rle import encode_label_map, encode_runs


def masks_to_rles(masks: LabelMapMasks | BitmapMasks | Tensor | np.ndarray | Sequence[dict]) -> list[dict]:
    """Compressed RLEs of N instances, in their order; an instance without a pixel stays as one.

    Args:
        masks: label maps, bitmaps (N, H, W) in any form, what is not 0 is inside, or RLEs, which are given back.

    Raises:
        TypeError: anything else, for example polygons.
    """
    if isinstance(masks, LabelMapMasks):
        return _label_maps_to_rles(masks)
    if isinstance(masks, list | tuple):
        return list(masks)
    if isinstance(masks, Tensor):
        masks = masks.detach().cpu().numpy()
    elif isinstance(masks, BitmapMasks):
        masks = masks.masks
    if not isinstance(masks, np.ndarray):
        raise TypeError('masks must be LabelMapMasks, BitmapMasks, (N, H, W) bitmaps or RLEs, got '
                        f"{type(masks).__name__}; dict(type='LoadCellAnnotations') loads polygons as label maps")
    return [pycocotools.mask.encode(np.asfortranarray(bitmap != 0, np.uint8)) for bitmap in masks]


def _label_maps_to_rles(masks: LabelMapMasks) -> list[dict]:
    """One pass over each layer, not over a bitmap of each instance."""
    found = {}
    for index, layer in enumerate(masks.layers):
        encoded = encode_label_map(layer)
        found.update(zip(((index, i) for i in encoded.ids.tolist()), encoded.rles, strict=True))
    nothing = np.zeros(0, np.int64)
    empty = encode_runs(nothing, nothing, nothing, 1, masks.height, masks.width)[0]
    return [found.get(key, empty) for key in zip(masks.layer_indices.tolist(), masks.ids.tolist(), strict=True)]
