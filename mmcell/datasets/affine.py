"""Random affine maps of image and masks."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomAffine
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.instances import put_instances, to_label_map_masks


@TRANSFORMS.register_module()
class CellAffine(RandomAffine):
    """``RandomAffine`` that takes the masks along; the stock transform refuses them.

    The map takes the middle of the image to the middle of the output. The stock one fixes the top left corner, so
    that a rotation by more than a few degrees turns the image out of sight; cells look the same from all sides and
    are rotated by any angle. Angle, scale, shear and shift are those that the stock transform draws.

    Masks are sampled as the image is, bilinearly: a pixel goes to the instance with at least half of the weights.
    Boxes are made from the warped masks, hence tight, where those of rotated boxes grow; an instance without a pixel
    left is dropped. Samples without masks are left to the stock transform.

    Required keys:

    - img
    - gt_masks (LabelMapMasks or BitmapMasks) (optional)
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags (optional where there are masks)

    Modified keys:

    - img, img_shape
    - gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        centered: False for the fixed point of the stock transform.
        kwargs: as ``RandomAffine``. ``border_val``, what comes into the image from outside, is the grey (114, 114,
            114) unless given: about the mean that images are normalised with, so that it is near 0 for the network.
            ``bbox_clip_border`` has no effect on boxes of masks, which never leave the frame.

    Raises:
        ValueError: a negative ``border`` leaves nothing of an image.
    """

    def __init__(self, *args, centered: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.centered = centered

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Warps the sample."""
        image = results['img']
        width, height = (size + 2 * border for size, border in zip(image.shape[1::-1], self.border, strict=True))
        if min(width, height) < 1:
            raise ValueError(f'border={self.border} leaves nothing of an image of (height, width) {image.shape[:2]}')
        if results.get('gt_masks') is None:
            return super().transform(results)
        matrix = self._get_random_homography_matrix(height, width)
        # The function that the stock transform uses: the same image, bit for bit.
        results['img'] = cv2.warpPerspective(image, matrix, dsize=(width, height), borderValue=self.border_val)
        results['img_shape'] = (height, width)
        masks = to_label_map_masks(results['gt_masks']).warp(matrix[:2], (height, width))
        put_instances(results, masks, masks.areas > 0, results)
        return results

    @cache_randomness
    def _get_random_homography_matrix(self, height: int, width: int) -> np.ndarray:
        """(3, 3) float32 from input (x, y) px to the output of the size given."""
        matrix = super()._get_random_homography_matrix(height, width)
        if not self.centered:
            return matrix
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        to_origin = self._get_translation_matrix(self.border[0] - middle_x, self.border[1] - middle_y)
        return self._get_translation_matrix(middle_x, middle_y) @ matrix @ to_origin

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, centered={self.centered})'
