"""Views of an image for test-time augmentation: scaled, flipped and turned images, and the way back.

A view is described by the 3x3 matrix that maps points (x, y, 1) of the image, in px, to points of the view.
MMDetection's transforms store this matrix as ``homography_matrix`` in the meta information.

Example: an image of 6x4 px (width x height) is turned by one quarter counter-clockwise. The matrix is
[[0, 1, 0], [-1, 0, 6], [0, 0, 1]], that is, (x, y) goes to (y, 6 - x). The box (1, 0, 3, 2) of the image becomes the
box (0, 3, 2, 5) of the view: x of the image lies on axis 1 (y) of the view with factor -1 and shift 6, and y of the
image lies on axis 0 (x) of the view with factor 1 and shift 0. Factor -1 swaps the two ends: 1 and 3 go to 5 and 3.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmcell.errors import MmcellError

# Axes of an image (…, H, W) that are reversed by a flip.
DIRECTIONS = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@dataclass(frozen=True)
class View:
    """Recipe of a view: an image is resized, then flipped in one of MMDetection's directions, then turned.

    Attributes:
        scale: Positive factor for both sides.
        flip: Direction of the flip: 'horizontal', 'vertical', 'diagonal' (both), or None for no flip.
        turns: Number of quarter turns counter-clockwise, 0 to 3.

    Raises:
        MmcellError: An attribute has a value that is not allowed.
    """

    scale: float = 1.
    flip: str | None = None
    turns: int = 0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise MmcellError(f'scales of views must be positive, got {self.scale}')
        if self.flip is not None and self.flip not in DIRECTIONS:
            raise MmcellError(f'flips of views must be None or one of {list(DIRECTIONS)}, got {self.flip!r}')
        if self.turns not in range(4):
            raise MmcellError(f'turns of views must be 0, 1, 2 or 3, got {self.turns}')

    def make(self, image: Tensor) -> tuple[Tensor, np.ndarray]:
        """Returns the view of an image (C, H, W), and the matrix of the view, (3, 3) float64.

        Values are interpolated as in MMDetection's ``Resize``: bilinearly at pixel centres, without smoothing.
        """
        size = image.shape[-2:]
        new_size = [max(int(side * self.scale + .5), 1) for side in size]
        if new_size != list(size):
            image = F.interpolate(image[None], new_size, mode='bilinear', align_corners=False)[0]
        # Sides are rounded to whole pixels, so that the factors can differ slightly from ``scale``.
        matrix = np.diag([new_size[1] / size[1], new_size[0] / size[0], 1.])
        if self.flip is not None:
            image = image.flip(DIRECTIONS[self.flip])
            matrix = _flip_matrix(self.flip, *new_size) @ matrix
        return image.rot90(self.turns, (-2, -1)), turn_matrix(self.turns, *new_size) @ matrix


def all_views(scales: tuple[float, ...], flips: tuple[str | None, ...], turns: tuple[int, ...]) -> list[View]:
    """Returns one view for every combination of scales, flips and turns.

    Raises:
        MmcellError: One of the arguments is empty, or contains a value that is not allowed.
    """
    views = [View(*values) for values in product(scales, flips, turns)]
    if not views:
        raise MmcellError(f'no views: scales={scales}, flips={flips} and turns={turns} must each contain a value')
    return views


def turn_matrix(turns: int, height: int, width: int) -> np.ndarray:
    """Returns the matrix (3, 3) that maps points of an image to points of the turned image.

    Args:
        turns: Number of quarter turns counter-clockwise.
        height: Height of the image before it is turned, in px.
        width: Width of the image before it is turned, in px.
    """
    matrix = np.eye(3)
    for _ in range(turns):
        # One quarter turn maps (x, y) to (y, width - x) and exchanges height and width.
        matrix = np.array([[0., 1., 0.], [-1., 0., width], [0., 0., 1.]]) @ matrix
        height, width = width, height
    return matrix


def _flip_matrix(direction: str, height: int, width: int) -> np.ndarray:
    x_sign, y_sign = (-1. if axis in DIRECTIONS[direction] else 1. for axis in (-1, -2))
    return np.array([[x_sign, 0., width * (x_sign < 0)], [0., y_sign, height * (y_sign < 0)], [0., 0., 1.]])


def matrix_of_meta(meta: dict) -> np.ndarray:
    """Returns the matrix of a view that a pipeline has made, from the meta information of its data sample.

    Raises:
        MmcellError: The image was flipped or resized, but there is no ``homography_matrix``.
    """
    if 'homography_matrix' in meta:
        return np.asarray(meta['homography_matrix'], np.float64)
    if meta.get('flip') or tuple(meta['img_shape'][:2]) != tuple(meta['ori_shape'][:2]):
        raise MmcellError("views without a matrix cannot be mapped back: add 'homography_matrix' to meta_keys of the "
                          'last transform of tta_pipeline')
    return np.eye(3)


def boxes_to_view(bboxes_xyxy: Tensor, matrix: np.ndarray) -> Tensor:
    """Converts boxes (N, 4) of the image to boxes (N, 4) of the view, both in px."""
    corners = [None] * 4
    for axis, (view_axis, factor, shift) in enumerate(_axes(matrix)):
        first, second = (bboxes_xyxy[:, [axis, axis + 2]] * factor + shift).unbind(1)
        corners[view_axis], corners[view_axis + 2] = (second, first) if factor < 0 else (first, second)
    return torch.stack(corners, dim=1)


def boxes_from_view(bboxes_xyxy: Tensor, matrix: np.ndarray) -> Tensor:
    """Converts boxes (N, 4) of the view to boxes (N, 4) of the image, both in px."""
    corners = [None] * 4
    for axis, (view_axis, factor, shift) in enumerate(_axes(matrix)):
        # The divisor is a tensor, as in MMDetection: CUDA replaces a division by a Python number with a multiplication
        # by its inverse, which rounds differently.
        divisor = bboxes_xyxy.new_tensor(factor)
        first, second = ((bboxes_xyxy[:, [view_axis, view_axis + 2]] - shift) / divisor).unbind(1)
        corners[axis], corners[axis + 2] = (second, first) if factor < 0 else (first, second)
    return torch.stack(corners, dim=1)


def masks_from_view(masks: Tensor, matrix: np.ndarray) -> Tensor:
    """Converts masks (N, h, w) in boxes of the view to masks in boxes of the image.

    The result has the shape (N, h, w), or (N, w, h) if the view is turned by one or three quarters.
    """
    axes = _axes(matrix)
    masks = masks.flip([-1 - view_axis for view_axis, factor, _ in axes if factor < 0])
    return masks if axes[0][0] == 0 else masks.transpose(-2, -1)


def _axes(matrix: np.ndarray) -> list[tuple[int, float, float]]:
    """Returns, for x and y of the image, their axis in the view (0: x, 1: y), their factor and their shift."""
    view_axes = np.abs(matrix[:2, :2]).argmax(axis=0)
    if set(view_axes) != {0, 1} or np.count_nonzero(matrix[:2, :2]) != 2:
        raise MmcellError(f'views may only be scaled, flipped and turned by quarters, got the matrix {matrix.tolist()}')
    return [(int(view_axis), float(matrix[view_axis, axis]), float(matrix[view_axis, 2]))
            for axis, view_axis in enumerate(view_axes)]
