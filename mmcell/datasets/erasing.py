"""Rectangles that are erased from an image and its masks."""

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomErasing
from mmdet.registry import TRANSFORMS

from mmcell.datasets.instances import replace_instances, to_label_map_masks


@TRANSFORMS.register_module()
class CellErasing(RandomErasing):
    """``RandomErasing`` (Zhong et al. 2020) that decides by the erased area of the mask instead of the box.

    Boxes are made from the remaining pixels of the masks; the stock transform does not shrink boxes. Samples without
    masks are handled as in the stock transform.

    Required keys:

    - img, img_shape
    - gt_masks (LabelMapMasks or BitmapMasks) (optional)
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags (optional)
    - gt_seg_map (optional)

    Modified keys:

    - img, gt_seg_map
    - gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        bbox_erased_thr: An instance is dropped if at least this fraction of its mask is erased (of its box in samples
            without masks), and always if no pixel of its mask is left.
        args, kwargs: The arguments of ``RandomErasing``. ``mask_border_value`` must be 0.

    Raises:
        ValueError: ``ratio`` is not in [0, 1], or ``mask_border_value`` is not 0.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= self.ratio[0] <= self.ratio[1] <= 1:
            raise ValueError(f'ratio must be between 0 and 1, got {self.ratio}: a patch lies inside the image')
        if self.mask_border_value != 0:
            raise ValueError(f'mask_border_value must be 0, got {self.mask_border_value}: erased pixels become '
                             'background')

    @cache_randomness
    def _get_patches(self, img_shape: tuple[int, int]) -> np.ndarray:
        """Draws P patches, (P, 4) int64 xyxy in px, from the same random numbers as the stock transform.

        Unlike the stock transform this also works for P = 0 and for a patch as large as the image.
        """
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
        remaining = masks.erase(region)
        is_kept = (remaining.areas > 0) & (masks.areas - remaining.areas < self.bbox_erased_thr * masks.areas)
        replace_instances(results, remaining, is_kept, results)
