"""Random affine maps of an image and its masks."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomAffine
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.instances import replace_instances, to_label_map_masks


@TRANSFORMS.register_module()
class CellAffine(RandomAffine):
    """``RandomAffine`` that also warps the masks; the stock transform refuses samples with masks.

    The middle of the image becomes the middle of the output before the random shift. The stock transform keeps the
    top left corner in place instead, so that a rotation by more than a few degrees turns the image out of sight. Cells
    have no upright position and can be rotated by any angle. Angle, scale, shear and shift are chosen at random as in
    the stock transform.

    Masks are sampled bilinearly, as the image is: a pixel belongs to the instance with at least half of the weights.
    Boxes are made from the warped masks and are therefore tight, whereas rotating the boxes themselves would enlarge
    them. An instance without any pixel left is dropped. In samples without masks, boxes are rotated as in the stock
    transform.

    Required keys:

    - img
    - gt_masks (LabelMapMasks or BitmapMasks) (optional)
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags (optional if the sample has masks)

    Modified keys:

    - img, img_shape
    - gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        centered: Whether the map is centred on the image. With False the top left corner keeps its place, as in the
            stock transform.
        args, kwargs: The arguments of ``RandomAffine``. ``border_val`` is the colour outside the image, by default
            the grey (114, 114, 114): about the mean that images are normalised with, so that the network sees values
            near 0. ``bbox_clip_border`` has no effect on samples with masks, since their boxes stay in the frame.

    Raises:
        ValueError: A negative ``border`` is so large that nothing of the image remains.
    """

    def __init__(self, *args, centered: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.centered = centered

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Warps image, masks and boxes of the sample."""
        image = results['img']
        width, height = (size + 2 * border for size, border in zip(image.shape[1::-1], self.border, strict=True))
        if min(width, height) < 1:
            raise ValueError(f'border={self.border} leaves nothing of an image of (height, width) {image.shape[:2]}')
        if results.get('gt_masks') is None:
            return super().transform(results)
        matrix = self._get_random_homography_matrix(height, width)
        # The stock transform calls the same function, so that both give the same image, bit for bit.
        results['img'] = cv2.warpPerspective(image, matrix, dsize=(width, height), borderValue=self.border_val)
        results['img_shape'] = (height, width)
        masks = to_label_map_masks(results['gt_masks']).warp(matrix[:2], (height, width))
        replace_instances(results, masks, masks.areas > 0, results)
        return results

    @cache_randomness
    def _get_random_homography_matrix(self, height: int, width: int) -> np.ndarray:
        """Draws the (3, 3) float32 matrix from input (x, y) px to output (x, y) px; the size is that of the output."""
        matrix = super()._get_random_homography_matrix(height, width)
        if not self.centered:
            return matrix
        # The middle of the input goes to the origin, is warped there, and goes on to the middle of the output.
        # Example: an output 61 px wide with border (5, 0) comes from an input 51 px wide. Its middle x = 25 must
        # become x = 30: 25 + (5 - 30) = 0, a scale of 2 leaves 0, and 0 + 30 = 30. The corner x = 0 becomes -20.
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        to_origin = self._get_translation_matrix(self.border[0] - middle_x, self.border[1] - middle_y)
        return self._get_translation_matrix(middle_x, middle_y) @ matrix @ to_origin

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, centered={self.centered})'
