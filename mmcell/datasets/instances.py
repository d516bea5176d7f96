"""The instances of a sample, whose boxes, labels, ignore flags and masks stay aligned."""

import numpy as np
from mmdet.structures.mask import BitmapMasks

from mmcell.masks.label_map_masks import LabelMapMasks


def to_label_map_masks(masks: LabelMapMasks | BitmapMasks) -> LabelMapMasks:
    """The masks as ``LabelMapMasks``, on which all augmentations of cells compute.

    Raises:
        TypeError: another kind of masks.
    """
    if isinstance(masks, LabelMapMasks):
        return masks
    if isinstance(masks, BitmapMasks):
        return LabelMapMasks.from_bitmaps(masks)
    raise TypeError(f'masks must be LabelMapMasks or BitmapMasks, got {type(masks).__name__}; polygons become bitmaps '
                    "with dict(type='LoadAnnotations', with_mask=True, poly2mask=True)")


def put_instances(results: dict, masks: LabelMapMasks, is_kept: np.ndarray, *sources: dict) -> None:
    """Replaces the instances of a sample.

    Keys that ``results`` does not have are not added. Masks stay of the kind that they are there, and boxes are made
    from them: they fit tightly.

    Args:
        results: the sample, changed.
        masks: (N) of all instances of the sources, one source after another.
        is_kept: (N,) bool.
        sources: samples with the labels and ignore flags; may be ``results`` itself.
    """
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        if key in results:
            results[key] = np.concatenate([source[key] for source in sources])[is_kept]
    masks = masks[is_kept]
    if 'gt_bboxes' in results:
        results['gt_bboxes'] = masks.get_bboxes(type(results['gt_bboxes']))
    if isinstance(results.get('gt_masks'), BitmapMasks):
        results['gt_masks'] = BitmapMasks(masks.to_ndarray(), masks.height, masks.width)
    elif 'gt_masks' in results:
        results['gt_masks'] = masks
