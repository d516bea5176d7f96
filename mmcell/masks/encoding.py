"""Converts all kinds of instance masks that MMDetection and mmcell use to RLE."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask
from mmdet.structures.mask import BitmapMasks
from torch import Tensor

from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.rle import encode_label_map, encode_runs


def masks_to_rles(masks: LabelMapMasks | BitmapMasks | Tensor | np.ndarray | Sequence[dict]) -> list[dict]:
    """Returns the compressed RLEs of N instances in their order; an instance without pixels gets an empty RLE.

    Args:
        masks: Label maps, or bitmaps (N, H, W) of any class and dtype (pixels that are not 0 are inside), or N RLEs,
            which are returned as they are.

    Raises:
        TypeError: The masks are of another kind, for example polygons.
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
        raise TypeError('masks must be LabelMapMasks, BitmapMasks, bitmaps (N, H, W) or RLEs, got '
                        f"{type(masks).__name__}; dict(type='LoadCellAnnotations') loads polygons as label maps")
    return [pycocotools.mask.encode(np.asfortranarray(bitmap != 0, np.uint8)) for bitmap in masks]


def _label_maps_to_rles(masks: LabelMapMasks) -> list[dict]:
    """Encodes label maps in one pass over each layer instead of one pass over a bitmap per instance."""
    rles = {}
    for index, layer in enumerate(masks.layers):
        encoded = encode_label_map(layer)
        rles.update(zip(((index, i) for i in encoded.ids.tolist()), encoded.rles, strict=True))
    no_runs = np.zeros(0, np.int64)
    empty_rle = encode_runs(no_runs, no_runs, np.array([0]), masks.height, masks.width)[0]
    return [rles.get(key, empty_rle) for key in zip(masks.layer_indices.tolist(), masks.ids.tolist(), strict=True)]
