"""Transforms that combine several images into one, or erase parts of an image."""

import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import Mosaic, RandomErasing
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.masks.label_map_masks import LabelMapMasks

_CORNERS = ('top_left', 'top_right', 'bottom_left', 'bottom_right')


@TRANSFORMS.register_module()
class CellMosaic(Mosaic):
    """``Mosaic`` that also combines the masks; the stock transform keeps only the first image's masks, unmoved.

    The four images meet at a random point of a frame that is twice as large as ``img_scale``. Pixels outside the frame
    are cut off, and boxes are made from the masks that remain. Images keep their size, because models also recognise
    cells by their size. If an image is larger than ``img_scale``, the frame may show only the part next to the meeting
    point: put a ``RandomCrop`` into the pipeline of the wrapped data set, so that every part of the image is used.

    Required keys: img, gt_masks (LabelMapMasks or BitmapMasks); optionally gt_bboxes, gt_bboxes_labels and
    gt_ignore_flags; and mix_results, a list with three more samples, as ``MultiImageMixDataset`` adds them. Modified
    keys: all of these except mix_results, and img_shape.

    Args:
        keep_size: Whether images keep their size. With False each image is scaled to fit into ``img_scale``, with its
            aspect ratio kept, as in the stock transform; masks are then sampled at the nearest pixels.
        args, kwargs: The arguments of ``Mosaic``. ``bbox_clip_border`` has no effect, since boxes made from masks never
            leave the frame.

    Raises:
        ValueError: A sample has no masks, or there are not exactly four samples.
    """

    def __init__(self, *args, keep_size: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.keep_size = keep_size

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Combines the sample with the three samples of ``results['mix_results']``."""
        if np.random.uniform(0, 1) > self.prob:
            return results
        samples = [results, *results.get('mix_results', [])]
        if len(samples) != 4 or any(sample.get('gt_masks') is None for sample in samples):
            raise ValueError('CellMosaic combines four samples with gt_masks: wrap the data set in a '
                             "MultiImageMixDataset and load masks; for boxes only, use MMDetection's Mosaic")
        width, height = (int(2 * side) for side in self.img_scale)
        frame = np.full((height, width, *results['img'].shape[2:]), self.pad_val, results['img'].dtype)
        center_xy = [int(np.random.uniform(*self.center_ratio_range) * side) for side in self.img_scale]
        placed = []
        for sample, corner in zip(samples, _CORNERS, strict=True):
            image, masks = self._resize(sample['img'], to_label_map_masks(sample['gt_masks']))
            # The first box is the place in the frame, the second the part of the image that is shown there. Example:
            # an image 50 px wide and 20 px high, top left of the point (40, 30), fills (0, 10, 40, 30) of the frame
            # with its part (10, 0, 50, 20). Its pixel (0, 0) would lie at y = 10 - 0 and x = 0 - 10 in the frame.
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


@TRANSFORMS.register_module()
class CellErasing(RandomErasing):
    """``RandomErasing`` (Zhong et al. 2020) that decides by the erased area of the mask instead of the box.

    Boxes are made from the remaining pixels of the masks; the stock transform does not shrink boxes. Samples without
    masks are handled as in the stock transform.

    Required keys: img, img_shape; optionally gt_masks (LabelMapMasks or BitmapMasks), gt_bboxes, gt_bboxes_labels,
    gt_ignore_flags and gt_seg_map. Modified keys: all of these except img_shape.

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
        """Draws P >= 0 patches, (P, 4) int64 xyxy in px, from the same random numbers as the stock transform."""
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
