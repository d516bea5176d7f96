"""Changes to the instances of a sample that keep boxes, labels, ignore flags and masks aligned."""

import numpy as np
from mmdet.structures.mask import BitmapMasks

from mmcell.masks.label_map_masks import LabelMapMasks


def to_label_map_masks(masks: LabelMapMasks | BitmapMasks) -> LabelMapMasks:
    """Returns the masks as ``LabelMapMasks``, the kind of masks that all augmentations of cells work on.

    Raises:
        TypeError: The masks are neither ``LabelMapMasks`` nor ``BitmapMasks``.
    """
    if isinstance(masks, LabelMapMasks):
        return masks
    if isinstance(masks, BitmapMasks):
        return LabelMapMasks.from_bitmaps(masks)
    raise TypeError(f'masks must be LabelMapMasks or BitmapMasks, got {type(masks).__name__}; to load polygons as '
                    "bitmaps, use dict(type='LoadAnnotations', with_mask=True, poly2mask=True)")


def replace_instances(results: dict, masks: LabelMapMasks, is_kept: np.ndarray, *sources: dict) -> None:
    """Replaces the instances of a sample by those of one or several samples, and drops some of them.

    Keys that ``results`` does not have are not added. If ``results['gt_masks']`` are ``BitmapMasks``, the new masks are
    stored as ``BitmapMasks``, too. Boxes are made from the masks, so that they are tight.

    Args:
        results: The sample, which is changed in place.
        masks: The N new masks: all instances of the first source, then all instances of the next source, and so on.
        is_kept: (N,) bool, False for instances that are dropped.
        sources: The samples that hold the labels and ignore flags of the N instances. ``results`` may be one of them.
    """
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        if key in results:
            results[key] = np.concatenate([source[key] for source in sources])[is_kept]
    masks = masks[is_kept]
    if 'gt_bboxes' in results:
        results['gt_bboxes'] = masks.get_bboxes(type(results['gt_bboxes']))
    if 'gt_masks' in results:
        replace_masks(results, masks)


def replace_masks(results: dict, masks: LabelMapMasks) -> None:
    """Stores masks in a sample, as ``BitmapMasks`` if it has ``BitmapMasks``."""
    is_bitmap = isinstance(results['gt_masks'], BitmapMasks)
    results['gt_masks'] = BitmapMasks(masks.to_ndarray(), masks.height, masks.width) if is_bitmap else masks
