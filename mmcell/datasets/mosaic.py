"""Four images in one."""

import mmcv
import numpy as np
from mmdet.datasets.transforms import Mosaic
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.masks.label_map_masks import LabelMapMasks

_CORNERS = ('top_left', 'top_right', 'bottom_left', 'bottom_right')


@TRANSFORMS.register_module()
class CellMosaic(Mosaic):
    """``Mosaic`` that takes the masks along; the stock transform leaves those of the first image, in its old frame.

    Four images meet at a random point of a frame of twice ``img_scale``. What leaves the frame is cut, and boxes are
    made from the masks that are left. The size of cells is a feature, hence images keep theirs. Of an image that is
    larger than ``img_scale`` the frame then shows only the side towards the meeting point: put a ``RandomCrop`` into
    the pipeline of the data set that is wrapped, so that all of it is seen.

    Required keys:

    - img
    - gt_masks (LabelMapMasks or BitmapMasks)
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags (optional)
    - mix_results: three more samples, as ``MultiImageMixDataset`` adds them

    Modified keys:

    - img, img_shape
    - gt_masks, gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        keep_size: False to scale each image, ratio kept, to fit into ``img_scale``, as the stock transform does; masks
            are then sampled at nearest pixels.
        kwargs: as ``Mosaic``. ``bbox_clip_border`` has no effect, since boxes of masks never leave the frame.

    Raises:
        ValueError: there are no masks, or not three more samples.
    """

    def __init__(self, *args, keep_size: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.keep_size = keep_size

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Puts the sample together with those of ``results['mix_results']``."""
        if np.random.uniform(0, 1) > self.prob:
            return results
        samples = [results, *results.get('mix_results', [])]
        if len(samples) != 4 or any(sample.get('gt_masks') is None for sample in samples):
            raise ValueError('CellMosaic puts four samples with gt_masks together: wrap the data set in a '
                             "MultiImageMixDataset, and load masks; for boxes alone there is MMDetection's Mosaic")
        width, height = (int(2 * side) for side in self.img_scale)
        frame = np.full((height, width, *results['img'].shape[2:]), self.pad_val, results['img'].dtype)
        center_xy = [int(np.random.uniform(*self.center_ratio_range) * side) for side in self.img_scale]
        placed = []
        for sample, corner in zip(samples, _CORNERS, strict=True):
            image, masks = self._resize(sample['img'], to_label_map_masks(sample['gt_masks']))
            (x1, y1, x2, y2), (left, top, right, bottom) = self._mosaic_combine(corner, center_xy, image.shape[1::-1])
            frame[y1:y2, x1:x2] = image[top:bottom, left:right]
            placed.append(masks.reframe((height, width), y1 - top, x1 - left))
        results.update(img=frame, img_shape=(height, width))
        masks = LabelMapMasks.cat(placed)
        replace_instances(results, masks, masks.areas > 0, *samples)
        return results

    def _resize(self, image: np.ndarray, masks: LabelMapMasks) -> tuple[np.ndarray, LabelMapMasks]:
        if self.keep_size:
            return image, masks
        factor = min(side / size for side, size in zip(self.img_scale, image.shape[1::-1], strict=True))
        height, width = (max(int(size * factor), 1) for size in image.shape[:2])
        return mmcv.imresize(image, (width, height)), masks.resize((height, width))

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, keep_size={self.keep_size})'
