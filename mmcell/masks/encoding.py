"""Converts all kinds of instance masks that MMDetection and mmcell use to RLE."""

from collections.abc import Sequence

import numpy as np
import pycocotools.mask

from mmcell.masks.rle_counts import with_text_counts


def masks_to_rles(masks: object) -> list[dict]:
    """Returns N instance masks of any form as compressed RLEs with counts as str; a mask without pixels included.

    Args:
        masks: Masks that have a method ``to_rles`` (``LabelMapMasks``, ``MaskRuns``); bitmaps (N, H, W) as
            ``BitmapMasks``, a tensor or an array of any dtype, whose pixels that are not 0 are inside; or a list of N
            RLEs.

    Raises:
        TypeError: The masks are of another kind, for example polygons.
    """
    if hasattr(masks, 'to_rles'):
        return masks.to_rles()
    if isinstance(masks, Sequence):
        return [with_text_counts(rle) for rle in masks]
    # Tensors and MMDetection's classes are known by what they have, so that importing this module is fast.
    bitmaps = getattr(masks, 'masks', masks)
    if hasattr(bitmaps, 'detach'):
        bitmaps = bitmaps.detach().cpu().numpy()
    if not isinstance(bitmaps, np.ndarray):
        raise TypeError('masks must be LabelMapMasks, BitmapMasks, bitmaps (N, H, W) or RLEs, got '
                        f"{type(masks).__name__}; dict(type='LoadCellAnnotations') loads polygons as label maps")
    rles = (pycocotools.mask.encode(np.asfortranarray(bitmap != 0, np.uint8)) for bitmap in bitmaps)
    return [with_text_counts(rle) for rle in rles]
