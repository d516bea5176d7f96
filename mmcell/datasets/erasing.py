"""Rectangles taken out of image and masks."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomErasing
from mmdet.registry import TRANSFORMS

from mmcell.datasets.instances import put_instances, to_label_map_masks


@TRANSFORMS.register_module()
class CellErasing(RandomErasing):
    """``RandomErasing`` (Zhong et al. 2020) that counts the pixels of the masks, where the stock one counts boxes.

    Boxes are made from what is left of the masks; the stock transform leaves them as large as they were. Samples
    without masks are left to it.

    Required keys:

    - img, img_shape
    - gt_masks (LabelMapMasks or BitmapMasks) (optional)
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags (optional)
    - gt_seg_map (optional)

    Modified keys:

    - img, gt_seg_map
    - gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        bbox_erased_thr: an instance is dropped when this part of its area (of its box, without masks) is erased, and
            always when nothing is left.
        kwargs: as ``RandomErasing``; ``mask_border_value`` can be 0 alone.

    Raises:
        ValueError: a ratio is not in [0, 1], or ``mask_border_value`` is not 0.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= self.ratio[0] <= self.ratio[1] <= 1:
            raise ValueError(f'ratio must be between 0 and 1, got {self.ratio}: a patch is part of the image')
        if self.mask_border_value != 0:
            raise ValueError(f'mask_border_value must be 0, got {self.mask_border_value}: erased pixels are background')

    @cache_randomness
    def _get_patches(self, img_shape: tuple[int, int]) -> np.ndarray:
        """(P, 4) int64 xyxy in px: the stock draws, but for P = 0 and for a patch of the whole image, too."""
        n_patches = np.random.randint(self.n_patches[0], self.n_patches[1] + 1)
        return np.array([self._draw_patch(*img_shape) for _ in range(n_patches)], np.int64).reshape(-1, 4)

    def _draw_patch(self, height: int, width: int) -> tuple[int, int, int, int]:
        low, high = self.ratio
        ratios = [np.random.random() * (high - low) + low for _ in range(1 if self.squared else 2)]
        patch_height, patch_width = int(height * ratios[0]), int(width * ratios[-1])
        x1 = np.random.randint(0, max(width - patch_width, 1))
        y1 = np.random.randint(0, max(height - patch_height, 1))
        return x1, y1, x1 + patch_width, y1 + patch_height

    def _transform_bboxes(self, results: dict, patches: np.ndarray) -> None:
        if results.get('gt_masks') is None:
            super()._transform_bboxes(results, patches)

    def _transform_masks(self, results: dict, patches: np.ndarray) -> None:
        masks = to_label_map_masks(results['gt_masks'])
        region = np.zeros((masks.height, masks.width), bool)
        for x1, y1, x2, y2 in patches:
            region[y1:y2, x1:x2] = True
        left = masks.erase(region)
        is_kept = (left.areas > 0) & (masks.areas - left.areas < self.bbox_erased_thr * masks.areas)
        put_instances(results, left, is_kept, results)
