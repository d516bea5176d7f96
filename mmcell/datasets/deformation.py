"""Transforms that deform cells, or show them at several scales, with boxes and masks that fit the pixels."""

import math

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.class_crops import draw_window_start
from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.masks.elastic import deform_image, draw_field, field_points


@TRANSFORMS.register_module()
class ElasticDeformation(BaseTransform):
    """Deforms the image and its cells by a smooth random field (Simard et al. 2003).

    Masks are sampled at the same points as the image: a pixel belongs to the instance with at least half of the
    bilinear weights. Boxes are made from the masks. Cells without a pixel left are dropped; a cell in several pieces
    stays one instance. Points outside the image are moved to its border. Samples with boxes but without masks are
    refused, because a box says nothing about where the pixels of a cell go.

    Required keys: img; optionally gt_masks (LabelMapMasks or BitmapMasks), gt_bboxes, gt_bboxes_labels,
    gt_ignore_flags. Modified keys: all of these.

    Args:
        sigma_px: How far the field is smooth, in px: standard deviation of the Gaussian.
        amplitude_px: Standard deviation of the displacements per direction in px, at most a third of ``sigma_px``.
            Up to this ratio, foldings of the image are rare.
        prob: The fraction of samples that are deformed, 0 to 1.

    Raises:
        ValueError: A value is not as above, or a sample has boxes but no masks, or a gt_seg_map.
    """

    def __init__(self, sigma_px: float = 24, amplitude_px: float = 4, prob: float = .5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        if not 0 <= amplitude_px <= sigma_px / 3 or sigma_px < 1:
            raise ValueError('sigma_px must be at least 1, and amplitude_px from 0 to a third of it, got '
                             f'{sigma_px} and {amplitude_px}')
        self.sigma_px, self.amplitude_px, self.prob = sigma_px, amplitude_px, prob

    @cache_randomness
    def _draw_seed(self) -> int | None:
        """Draws the seed of the field; None if the sample is not deformed."""
        return np.random.randint(2 ** 31) if np.random.random() < self.prob else None

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Deforms image, masks and boxes of the sample."""
        seed = self._draw_seed()
        if seed is None:
            return results
        has_masks = results.get('gt_masks') is not None
        if results.get('gt_seg_map') is not None or (not has_masks and len(results.get('gt_bboxes', ()))):
            raise ValueError('ElasticDeformation makes boxes from masks, and cannot deform a gt_seg_map: load masks, '
                             'and no segmentation map')
        image = results['img']
        field = draw_field(image.shape[:2], self.sigma_px, self.amplitude_px, np.random.default_rng(seed))
        points = field_points(field)
        results['img'] = deform_image(image, points)
        if has_masks:
            masks = to_label_map_masks(results['gt_masks']).deform(points)
            replace_instances(results, masks, masks.areas > 0, results)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(sigma_px={self.sigma_px}, amplitude_px={self.amplitude_px}, '
                f'prob={self.prob})')


@TRANSFORMS.register_module()
class ScaleJitterCrop(BaseTransform):
    """Cuts out a window of random size and resizes it to one size, as large-scale jitter does (Ghiasi et al. 2021).

    ``RandomResize`` and ``RandomCrop`` give the same kind of samples, but resize the whole image first. Here the cost
    depends on the window only. A window of ``crop_size`` divided by the scale is cut out and resized by the scale.
    Where the image is smaller than the window, all of it is shown, by the same scale, and the output is smaller than
    ``crop_size``; the model's preprocessor pads batches.

    Required keys: img, gt_masks (LabelMapMasks or BitmapMasks), gt_bboxes, gt_bboxes_labels; optionally
    gt_ignore_flags. Samples without gt_masks must have no boxes. Modified keys: all of these and img_shape. Added keys:
    homography_matrix.

    Args:
        crop_size: (width, height) of the output in px.
        ratio_range: (low, high), the range of the scale. Its logarithm is drawn with equal probabilities. An image is
            enlarged by scales above 1 only.
        uniform_fraction: The fraction of windows that lie anywhere, 0 to 1. The others contain a cell that is drawn.

    Raises:
        ValueError: A value is not as above, or a sample has boxes but no masks, or a gt_seg_map.
    """

    def __init__(self, crop_size: tuple[int, int], ratio_range: tuple[float, float] = (.5, 2.),
                 uniform_fraction: float = .5) -> None:
        if min(crop_size) < 1 or not 0 < ratio_range[0] <= ratio_range[1] or not 0 <= uniform_fraction <= 1:
            raise ValueError('crop_size must be at least 1 px, ratio_range (low, high) above 0, and uniform_fraction '
                             f'in [0, 1], got {crop_size}, {ratio_range} and {uniform_fraction}')
        self.crop_size, self.ratio_range, self.uniform_fraction = crop_size, ratio_range, uniform_fraction

    @cache_randomness
    def _draw_scale(self) -> float:
        return math.exp(np.random.uniform(*np.log(self.ratio_range)))

    @cache_randomness
    def _draw_corner(self, bboxes_xyxy: np.ndarray, size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
        """Draws the upper left corner (y, x) of the window; sizes are (height, width)."""
        if np.random.random() < self.uniform_fraction or not len(bboxes_xyxy):
            return tuple(np.random.randint(whole - part + 1) for whole, part in zip(size, window, strict=True))
        left, top, right, bottom = bboxes_xyxy[np.random.randint(len(bboxes_xyxy))].tolist()
        return draw_window_start(top, bottom, window[0], size[0]), draw_window_start(left, right, window[1], size[1])

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Cuts out and resizes image, masks and boxes of the sample."""
        has_masks = results.get('gt_masks') is not None
        boxes = results.get('gt_bboxes')
        if results.get('gt_seg_map') is not None or (not has_masks and boxes is not None and len(boxes)):
            raise ValueError('ScaleJitterCrop needs masks for the boxes, and cannot resize a gt_seg_map: load masks, '
                             'and no segmentation map')
        size, scale = results['img'].shape[:2], self._draw_scale()
        window = tuple(min(whole, max(round(side / scale), 1))
                       for whole, side in zip(size, self.crop_size[::-1], strict=True))
        shape = tuple(min(max(round(part * scale), 1), side)
                      for part, side in zip(window, self.crop_size[::-1], strict=True))
        xyxy = np.zeros((0, 4)) if boxes is None else boxes.numpy()
        top, left = self._draw_corner(xyxy, size, window)
        crop = np.ascontiguousarray(results['img'][top:top + window[0], left:left + window[1]])
        # Averages of areas do not alias, which single points of a shrunken image would do.
        how = cv2.INTER_AREA if shape[0] * shape[1] < window[0] * window[1] else cv2.INTER_LINEAR
        results['img'] = cv2.resize(crop, shape[::-1], interpolation=how)
        results['img_shape'] = shape
        matrix = _crop_and_scale_matrix(top, left, shape[0] / window[0], shape[1] / window[1])
        results['homography_matrix'] = matrix @ results.get('homography_matrix', np.eye(3, dtype=np.float32))
        if has_masks:
            masks = to_label_map_masks(results['gt_masks']).reframe(window, -top, -left).resize(shape, 'bilinear')
            replace_instances(results, masks, masks.areas > 0, results)
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(crop_size={self.crop_size}, ratio_range={self.ratio_range}, '
                f'uniform_fraction={self.uniform_fraction})')


def _crop_and_scale_matrix(top: int, left: int, scale_y: float, scale_x: float) -> np.ndarray:
    return np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y], [0, 0, 1]], np.float32)
