"""Quarter turns, which lose no pixel."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type
from mmdet.structures.mask import BitmapMasks

from mmcell.datasets.instances import to_label_map_masks


@TRANSFORMS.register_module()
class RandomRotate90(BaseTransform):
    """Rotates image, boxes and masks by 90, 180 or 270 degrees; seen from above, cells have no upright.

    MMDetection has rotations by any angle alone, which sample the image anew. With ``RandomFlip`` before it, all eight
    orientations come up.

    Required keys:

    - img
    - gt_bboxes, gt_masks (LabelMapMasks or BitmapMasks), gt_seg_map (optional)

    Modified keys: these and

    - img_shape

    Args:
        prob: how often an image is rotated; the three angles are as frequent. The default makes all four orientations
            alike.

    Raises:
        ValueError: ``prob`` is not in [0, 1].
    """

    def __init__(self, prob: float = .75) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.prob = prob

    @cache_randomness
    def _draw_turns(self) -> int:
        return np.random.randint(1, 4) if np.random.random() < self.prob else 0

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Rotates the sample counter-clockwise."""
        turns = self._draw_turns()
        if not turns:
            return results
        shape = results['img'].shape[:2]
        results['img'] = np.ascontiguousarray(np.rot90(results['img'], turns))
        results['img_shape'] = results['img'].shape[:2]
        if results.get('gt_seg_map') is not None:
            results['gt_seg_map'] = np.ascontiguousarray(np.rot90(results['gt_seg_map'], turns))
        if results.get('gt_masks') is not None:
            masks = to_label_map_masks(results['gt_masks']).rot90(turns)
            is_bitmap = isinstance(results['gt_masks'], BitmapMasks)
            results['gt_masks'] = BitmapMasks(masks.to_ndarray(), *results['img_shape']) if is_bitmap else masks
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'] = _rotate_boxes(results['gt_bboxes'], shape, turns)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


def _rotate_boxes(boxes: HorizontalBoxes, shape: tuple[int, int], turns: int) -> HorizontalBoxes:
    """Boxes of an image of (height, width) px after quarter turns counter-clockwise."""
    boxes, (height, width) = boxes.clone(), shape
    for _ in range(turns):
        # (x, y) goes to (y, width - x).
        boxes.project_(np.float32([[0, 1, 0], [-1, 0, width], [0, 0, 1]]))
        height, width = width, height
    return boxes
