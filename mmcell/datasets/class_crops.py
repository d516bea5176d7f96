"""A crop that shows rare classes more often than a crop at a random place does."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomCrop
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.datasets.instances import replace_instances, to_label_map_masks


def draw_cell(labels: np.ndarray, class_weights: Sequence[float] | None = None) -> int | None:
    """Draws a class that is present, then one of its cells; returns the index of the cell.

    Args:
        labels: (N,) integers from 0.
        class_weights: The weight of each class, by label, at least 0; None: all classes have the same weight.

    Returns:
        An index from 0 to N - 1; None if there is no cell of a class with a weight above 0.
    """
    classes = np.unique(labels)
    weights = np.ones(len(classes)) if class_weights is None else np.asarray(class_weights, float)[classes]
    if not weights.any():
        return None
    label = np.random.choice(classes, p=weights / weights.sum())
    return int(np.random.choice(np.flatnonzero(labels == label)))


def draw_window_start(start: float, stop: float, window_px: int, size_px: int) -> int:
    """Draws, with equal probabilities, where a window may begin along one axis so that it contains an interval.

    Of an interval that is longer than the window, the window shows a part. Windows lie inside the image.

    Args:
        start: Where the interval begins in px.
        stop: Where the interval ends, in px; this pixel does not belong to it.
        window_px: The length of the window, from 1 to ``size_px``.
        size_px: The length of the image.
    """
    # An interval from 30 to 40 lies in windows of 25 px that begin at 15 to 30. An interval from 30 to 70 is longer
    # than the window, which begins at 30 to 45, inside it.
    first, last = sorted((int(np.ceil(stop)) - window_px, int(np.floor(start))))
    low, high = (int(np.clip(place, 0, size_px - window_px)) for place in (first, last))
    return np.random.randint(low, high + 1)


@TRANSFORMS.register_module()
class ClassBalancedCrop(RandomCrop):
    """``RandomCrop`` whose window often contains a cell of a class that is drawn first, so that rare classes are seen.

    A fraction of the crops lies anywhere, as in the stock transform. For the others, one of the classes in the image is
    drawn, then one of its cells, then one of the windows that contain the box of this cell. In an image with 700
    lymphocytes and one macrophage, at least half of these crops show the macrophage. Images that are smaller than the
    window in a direction keep their size in it, and images without cells are cropped anywhere.

    Only the window changes: a transform before it may scale the image, and one behind it may scale the crop. Masks are
    cut out of the label maps, at a cost in proportion to the crop. Boxes are made from what is left of the masks, and
    cells without a pixel in the crop are dropped.

    Required keys: img, gt_bboxes, gt_bboxes_labels, gt_masks (LabelMapMasks or BitmapMasks); optionally
    gt_ignore_flags and gt_seg_map. Modified keys: all of these and img_shape. Added keys: homography_matrix.

    Args:
        crop_size: Width and height of the window, as in ``RandomCrop``.
        uniform_fraction: The fraction of crops that lie anywhere, 0 to 1. It bounds how much rarer a window can become:
            with .5, each window is still at least half as probable as in ``RandomCrop``.
        class_weights: The weights with which a class is drawn among those in the image, by label. None: all classes
            have the same weight.
        crop_type: As in ``RandomCrop``.

    Raises:
        ValueError: ``uniform_fraction`` is not in [0, 1], or ``class_weights`` are negative or all 0. A sample has no
            masks, or a label without a weight.
    """

    def __init__(self, crop_size: tuple, uniform_fraction: float = .5, class_weights: Sequence[float] | None = None,
                 crop_type: str = 'absolute') -> None:
        super().__init__(crop_size, crop_type, allow_negative_crop=True, recompute_bbox=True)
        if not 0 <= uniform_fraction <= 1:
            raise ValueError(f'uniform_fraction must be in [0, 1], got {uniform_fraction}')
        if class_weights is not None and (min(class_weights) < 0 or not any(class_weights)):
            raise ValueError(f'class_weights must be at least 0, and one of them greater, got {class_weights}')
        self.uniform_fraction = uniform_fraction
        self.class_weights = class_weights

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Crops image, masks and boxes of the sample."""
        if results.get('gt_masks') is None:
            raise ValueError('ClassBalancedCrop makes boxes from masks, but the sample has none: load masks')
        size = results['img'].shape[:2]
        height, width = self._get_crop_size(size)
        top, left = self._draw_corner(results['gt_bboxes'].numpy(), results['gt_bboxes_labels'], size, (height, width))
        masks = to_label_map_masks(results['gt_masks']).reframe((height, width), -top, -left)
        replace_instances(results, masks, masks.areas > 0, results)
        for key in ('img', 'gt_seg_map'):
            if results.get(key) is not None:
                results[key] = results[key][top:top + height, left:left + width]
        results['img_shape'] = (height, width)
        shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float32)
        results['homography_matrix'] = shift @ results.get('homography_matrix', np.eye(3, dtype=np.float32))
        return results

    @cache_randomness
    def _draw_corner(self, bboxes_xyxy: np.ndarray, labels: np.ndarray, size: tuple[int, int],
                     window: tuple[int, int]) -> tuple[int, int]:
        """Draws the upper left corner (y, x) of the window; sizes are (height, width)."""
        if self.class_weights is not None and labels.max(initial=0) >= len(self.class_weights):
            raise ValueError(f'class_weights has {len(self.class_weights)} values, but a cell has the label '
                             f'{labels.max()}')
        is_uniform = np.random.random() < self.uniform_fraction
        cell = None if is_uniform else draw_cell(labels, self.class_weights)
        if cell is None:
            return self._rand_offset(tuple(whole - part for whole, part in zip(size, window, strict=True)))
        left, top, right, bottom = bboxes_xyxy[cell].tolist()
        return (draw_window_start(top, bottom, window[0], size[0]),
                draw_window_start(left, right, window[1], size[1]))

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(crop_size={self.crop_size}, uniform_fraction={self.uniform_fraction}, '
                f'class_weights={self.class_weights}, crop_type={self.crop_type!r})')
