"""Transforms that move, turn or resize an image, with its boxes and masks."""

from collections.abc import Sequence

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import RandomAffine, Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type

from mmcell.boxes.views import turn_matrix
from mmcell.datasets.instances import replace_instances, replace_masks, to_label_map_masks
from mmcell.errors import MmcellError
from mmcell.images.scale import MAX_FACTOR, refuse_implausible_mpp


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

    Required keys: img; optionally gt_masks (LabelMapMasks or BitmapMasks); gt_bboxes, gt_bboxes_labels and
    gt_ignore_flags, which are optional if the sample has masks. Modified keys: these keys and img_shape.

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


@TRANSFORMS.register_module()
class RandomRotate90(BaseTransform):
    """Rotates image, boxes and masks by 90, 180 or 270 degrees, because cells have no upright position.

    MMDetection only has rotations by any angle, which interpolate the image. Together with ``RandomFlip`` this
    transform gives all eight orientations.

    Required keys: img; optionally gt_bboxes, gt_masks (LabelMapMasks or BitmapMasks) and gt_seg_map. Modified keys:
    these keys, img_shape, and homography_matrix, the product of all geometric transforms so far, as MMDetection's
    transforms keep it.

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
            replace_masks(results, to_label_map_masks(results['gt_masks']).rot90(turns))
        if results.get('gt_bboxes') is not None:
            results['gt_bboxes'] = results['gt_bboxes'].clone()
            results['gt_bboxes'].project_(matrix)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, turns={self.turns})'


@TRANSFORMS.register_module()
class ResizeToScale(BaseTransform):
    """Resizes an image so that a pixel has a certain number of micrometres, so that equal cells have equal sizes.

    In the pipelines of training, validation and test it comes after the loaders. Predictions are in px of the image as
    it was loaded. ``tools/predict.py`` leaves it out, because it rescales images itself.

    Required keys: mpp, which ``CellDataset`` gives each image, and the keys of ``mmdet.datasets.transforms.Resize``.
    Modified keys: these keys. Added keys: scale_factor.

    Args:
        mpp: The wanted micrometres per pixel.
        kwargs: Further arguments of ``Resize``, for example ``interpolation``.

    Raises:
        MmcellError: The scale of an image is not known.
        ValueError: ``mpp`` is not plausible.
    """

    def __init__(self, mpp: float, **kwargs) -> None:
        refuse_implausible_mpp(mpp)
        self.mpp = mpp
        self.kwargs = kwargs

    def transform(self, results: dict) -> dict:
        """Resizes image, boxes, masks and segmentation maps by the ratio of the two scales."""
        if results.get('mpp') is None:
            raise MmcellError(f'{results.get("img_path")}: its micrometres per pixel are not known, which '
                              'ResizeToScale needs: convert the data with --mpp, or write mpp=… into the data set')
        factor = results['mpp'] / self.mpp
        if not 1 / MAX_FACTOR <= factor <= MAX_FACTOR:
            raise MmcellError(f'{results.get("img_path")}: {results["mpp"]:g} um per pixel are to become '
                              f'{self.mpp:g}, a factor of {max(factor, 1 / factor):.0f}: probably a mistake')
        height, width = results['img'].shape[:2]
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        results = Resize(scale=size, keep_ratio=False, **self.kwargs)(results)
        results['mpp'] = self.mpp
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(mpp={self.mpp})'


@TRANSFORMS.register_module()
class CapLongSide(BaseTransform):
    """Shrinks an image whose longer side exceeds a limit; smaller images keep their size.

    ``Resize`` with ``keep_ratio`` would also enlarge small images, and their cells with them.

    Required and modified keys: the keys of ``mmdet.datasets.transforms.Resize``. Added keys: scale_factor.

    Args:
        max_side: The greatest length of the longer side in px.
        kwargs: Further arguments of ``Resize``, for example ``interpolation``.

    Raises:
        ValueError: ``max_side`` is not a whole number of at least 1.
    """

    def __init__(self, max_side: int, **kwargs) -> None:
        if not isinstance(max_side, int) or max_side < 1:
            raise ValueError(f'max_side must be a whole number of px, at least 1, got {max_side}')
        self.max_side = max_side
        self.kwargs = kwargs

    def transform(self, results: dict) -> dict:
        """Resizes image, boxes, masks and segmentation maps if the image is too large."""
        height, width = results['img'].shape[:2]
        if max(height, width) > self.max_side:
            new_width, new_height = mmcv.rescale_size((width, height), (self.max_side, self.max_side))
            # The short side of a long thin image must keep at least one pixel.
            scale = max(new_width, 1), max(new_height, 1)
            return Resize(scale=scale, keep_ratio=False, **self.kwargs)(results)
        results.setdefault('scale_factor', (1., 1.))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_side={self.max_side})'
