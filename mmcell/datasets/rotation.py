"""Rotation by quarter turns, which loses no pixel."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from mmdet.structures.mask import BitmapMasks

from mmcell.boxes.views import turn_matrix
from mmcell.datasets.instances import to_label_map_masks


@TRANSFORMS.register_module()
class RandomRotate90(BaseTransform):
    """Rotates image, boxes and masks by 90, 180 or 270 degrees, because cells have no upright position.

    MMDetection only has rotations by any angle, which interpolate the image. Together with ``RandomFlip`` this
    transform gives all eight orientations.

    Required keys:

    - img
    - gt_bboxes, gt_masks (LabelMapMasks or BitmapMasks), gt_seg_map (optional)

    Modified keys: the keys above, and

    - img_shape
    - homography_matrix, the product of all geometric transforms so far, as MMDetection's transforms keep it

    Args:
        prob: The probability that an image is rotated, 0 to 1. With the default all four orientations are equally
            frequent.
        turns: The numbers of quarter turns counter-clockwise to choose from at random. A single number with ``prob=1``
            always gives the same view, as test-time augmentation (``tta_pipeline``) needs it.

    Raises:
        ValueError: ``prob`` is not in [0, 1], or ``turns`` has a value other than 1, 2 and 3, or no value.
    """

    def __init__(self, prob: float = .75, turns: int | Sequence[int] = (1, 2, 3)) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.prob = prob
        self.turns = (turns,) if isinstance(turns, int) else tuple(turns)
        if not self.turns or not set(self.turns) <= {1, 2, 3}:
            raise ValueError(f'turns must be one or several of 1, 2, 3, got {turns}')

    @cache_randomness
    def _draw_turns(self) -> int:
        return self.turns[np.random.randint(len(self.turns))] if np.random.random() < self.prob else 0

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Rotates the sample counter-clockwise by a random number of quarter turns."""
        turns = self._draw_turns()
        if not turns:
            return results
        shape = results['img'].shape[:2]
        results['img'] = np.ascontiguousarray(np.rot90(results['img'], turns))
        results['img_shape'] = results['img'].shape[:2]
        matrix = turn_matrix(turns, *shape).astype(np.float32)
        results['homography_matrix'] = matrix @ results.get('homography_matrix', np.eye(3, dtype=np.float32))
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = np.ascontiguousarray(np.rot90(results['gt_seg_map'], turns))
        if results.get('gt_masks') is not None:
            masks = to_label_map_masks(results['gt_masks']).rot90(turns)
            is_bitmap = isinstance(results['gt_masks'], BitmapMasks)
            results['gt_masks'] = BitmapMasks(masks.to_ndarray(), *results['img_shape']) if is_bitmap else masks
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'] = results['gt_bboxes'].clone()
            results['gt_bboxes'].project_(matrix)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, turns={self.turns})'
