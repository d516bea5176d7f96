"""Views of an image for test-time augmentation: scaled, flipped and turned images, and the way back.

A view is described by the 3x3 matrix that takes points (x, y, 1) of the image, in px, to points of the view. It is
``homography_matrix`` in the meta information of MMDetection's transforms.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.errors import MmcellError

DIRECTIONS = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@dataclass(frozen=True)
class View:
    """An image is resized by ``scale``, flipped in a direction of MMDetection's, then turned counter-clockwise.

    Attributes:
        scale: factor of both sides.
        flip: 'horizontal', 'vertical', 'diagonal' or None.
        turns: quarter turns, 0 to 3.
    """

    scale: float = 1.
    flip: str | None = None
    turns: int = 0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise MmcellError(f'scales of views must be positive, got {self.scale}')
        if self.flip is not None and self.flip not in DIRECTIONS:
            raise MmcellError(f'flips of views must be None or of {list(DIRECTIONS)}, got {self.flip!r}')
        if self.turns not in range(4):
            raise MmcellError(f'turns of views must be of 0, 1, 2, 3, got {self.turns}')

    def make(self, image: Tensor) -> tuple[Tensor, np.ndarray]:
        """The view of an image (C, H, W), and its matrix, (3, 3) float64.

        Values are interpolated as MMDetection's ``Resize`` does, bilinearly at pixel centres, without smoothing.
        """
        size = image.shape[-2:]
        new_size = [max(int(side * self.scale + .5), 1) for side in size]
        if new_size != list(size):
            image = F.interpolate(image[None], new_size, mode='bilinear', align_corners=False)[0]
        matrix = np.diag([new_size[1] / size[1], new_size[0] / size[0], 1.])
        if self.flip is not None:
            image = image.flip(DIRECTIONS[self.flip])
            matrix = _flip_matrix(self.flip, *new_size) @ matrix
        return image.rot90(self.turns, (-2, -1)), turn_matrix(self.turns, *new_size) @ matrix


def all_views(scales: tuple[float, ...], flips: tuple[str | None, ...], turns: tuple[int, ...]) -> list[View]:
    """Every combination.

    Raises:
        MmcellError: there is none, or a value is not allowed.
    """
    views = [View(*values) for values in product(scales, flips, turns)]
    if not views:
        raise MmcellError(f'no views: scales={scales}, flips={flips}, turns={turns} must each have a value')
    return views


def turn_matrix(turns: int, height: int, width: int) -> np.ndarray:
    """Takes points of an image of height x width px to where quarter turns counter-clockwise bring them."""
    matrix = np.eye(3)
    for _ in range(turns):
        # (x, y) goes to (y, width - x).
        matrix = np.array([[0., 1., 0.], [-1., 0., width], [0., 0., 1.]]) @ matrix
        height, width = width, height
    return matrix


def _flip_matrix(direction: str, height: int, width: int) -> np.ndarray:
    x_sign, y_sign = (-1. if axis in DIRECTIONS[direction] else 1. for axis in (-1, -2))
    return np.array([[x_sign, 0., width * (x_sign < 0)], [0., y_sign, height * (y_sign < 0)], [0., 0., 1.]])


def matrix_of_meta(meta: dict) -> np.ndarray:
    """The matrix of a view that a pipeline made, from the meta information of its data sample.

    Raises:
        MmcellError: the image was changed, and there is no ``homography_matrix``.
    """
    if 'homography_matrix' in meta:
        return np.asarray(meta['homography_matrix'], np.float64)
    if meta.get('flip') or tuple(meta['img_shape'][:2]) != tuple(meta['ori_shape'][:2]):
        raise MmcellError("views without a matrix cannot be mapped back: add 'homography_matrix' to meta_keys of the "
                          'last transform of tta_pipeline')
    return np.eye(3)


def boxes_to_view(bboxes_xyxy: Tensor, matrix: np.ndarray) -> Tensor:
    """Boxes (N, 4) of the image as boxes of the view."""
    corners = [None] * 4
    for axis, (view_axis, factor, shift) in enumerate(_axes(matrix)):
        first, second = (bboxes_xyxy[:, [axis, axis + 2]] * factor + shift).unbind(1)
        corners[view_axis], corners[view_axis + 2] = (second, first) if factor < 0 else (first, second)
    return torch.stack(corners, dim=1)


def boxes_from_view(bboxes_xyxy: Tensor, matrix: np.ndarray) -> Tensor:
    """Boxes (N, 4) of the view as boxes of the image."""
    corners = [None] * 4
    for axis, (view_axis, factor, shift) in enumerate(_axes(matrix)):
        # By a tensor, as MMDetection does: CUDA divides by a number as it multiplies by the inverse.
        divisor = bboxes_xyxy.new_tensor(factor)
        first, second = ((bboxes_xyxy[:, [view_axis, view_axis + 2]] - shift) / divisor).unbind(1)
        corners[axis], corners[axis + 2] = (second, first) if factor < 0 else (first, second)
    return torch.stack(corners, dim=1)


def masks_from_view(masks: Tensor, matrix: np.ndarray) -> Tensor:
    """Masks (N, h, w) in boxes of the view, as masks (N, h', w') in the boxes of the image."""
    axes = _axes(matrix)
    masks = masks.flip([-1 - view_axis for view_axis, factor, _ in axes if factor < 0])
    return masks if axes[0][0] == 0 else masks.transpose(-2, -1)


def _axes(matrix: np.ndarray) -> list[tuple[int, float, float]]:
    """For x and y of the image: which axis of the view it lies on (0: x, 1: y), and factor and shift there."""
    view_axes = np.abs(matrix[:2, :2]).argmax(axis=0)
    if set(view_axes) != {0, 1} or np.count_nonzero(matrix[:2, :2]) != 2:
        raise MmcellError(f'views are scaled, flipped and turned by quarters alone, got the matrix {matrix.tolist()}')
    return [(int(view_axis), float(matrix[view_axis, axis]), float(matrix[view_axis, 2]))
            for axis, view_axis in enumerate(view_axes)]
