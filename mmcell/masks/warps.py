"""Resizing and affine warps of label maps. Pure arrays.

Sampling the nearest pixel is OpenCV's own on int32, hence the same rule as for a bitmap of uint8. To interpolate a
bitmap of zeros and ones linearly and round it (which is what a framework does that warps bitmaps) is to ask whether
the pixels of the instance have at least half of the weights of the four pixels around the sampled point. That can be
asked of a label map too, for all instances at once: :func:`choose_majority`. Only pixels at outlines have to be
looked at. The answers differ from OpenCV's where the weight is near one half, since OpenCV rounds coordinates to
1/32 px, and of two instances with exactly half each only one can have the pixel.
"""

import cv2
import numpy as np

INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')
# Weights are sums of rounded products.
_HALF = .5 - 1e-6


def _check_interpolation(interpolation: str) -> None:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f'interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}')


def choose_majority(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The label that has at least half of the weight.

    Args:
        labels: (4, M) int32, the pixels around each of M points, 0 = background.
        weights: (4, M) float, with the sum 1 for each point.

    Returns:
        (M,) int32, 0 where no instance has half of the weight.
    """
    winners = np.zeros(labels.shape[1], np.int32)
    for candidates in labels:
        support = np.where(labels == candidates, weights, 0).sum(axis=0)
        np.copyto(winners, candidates, where=(support >= _HALF) & (candidates > 0))
    return winners


def resize_labels(label_map: np.ndarray, height: int, width: int, interpolation: str = 'nearest') -> np.ndarray:
    """Resizes a label map (H, W) int32 to (height, width) int32.

    Args:
        label_map: any ids.
        height: of the output in px.
        width: of the output in px.
        interpolation: 'nearest' is ``cv2.resize``; any other of :data:`INTERPOLATIONS` gives each output pixel to
            the instance that has the majority of the bilinear weights around its centre.
    """
    _check_interpolation(interpolation)
    if interpolation == 'nearest':
        return cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST)
    y_low, y_high, y_weight = _resize_taps(label_map.shape[0], height)
    x_low, x_high, x_weight = _resize_taps(label_map.shape[1], width)
    corners = np.stack([label_map[np.ix_(y, x)] for y in (y_low, y_high) for x in (x_low, x_high)])
    y_weights, x_weights = (weight.ravel() for weight in np.meshgrid(y_weight, x_weight, indexing='ij'))
    return _choose_at_points(corners.reshape(4, -1), y_weights, x_weights).reshape(height, width)


def _resize_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source pixels of each output pixel along one axis, and the weight of the second (cv2.INTER_LINEAR)."""
    source = np.clip((np.arange(new_size) + .5) * (size / new_size) - .5, 0, size - 1)
    low = source.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), source - low


def _choose_at_points(corners: np.ndarray, y_weight: np.ndarray, x_weight: np.ndarray) -> np.ndarray:
    """Labels (M,) of points between pixels.

    Args:
        corners: (4, M) int32, the labels at top left, top right, bottom left, bottom right of each point.
        y_weight: (M,) weight of the bottom ones, 0 to 1.
        x_weight: (M,) weight of the right ones.
    """
    labels = corners[0].copy()
    mixed = np.flatnonzero((corners[1:] != corners[0]).any(axis=0))
    y, x = y_weight[mixed], x_weight[mixed]
    weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    labels[mixed] = choose_majority(corners[:, mixed], weights)
    return labels


def warp_labels(label_map: np.ndarray, matrix: np.ndarray, size: tuple[int, int] | None = None,
                interpolation: str = 'nearest') -> np.ndarray:
    """Warps a label map; what comes from outside the frame is background.

    Args:
        label_map: (H, W) int32.
        matrix: (2, 3), takes input pixel coordinates (x, y) to those of the output; a pixel's centre is whole.
        size: (height, width) of the output; that of the input where not given.
        interpolation: 'nearest' is ``cv2.warpAffine``; any other of :data:`INTERPOLATIONS` gives each output pixel
            to the instance that has the majority of the bilinear weights around the point that it comes from.

    Returns:
        (height, width) int32.
    """
    _check_interpolation(interpolation)
    height, width = label_map.shape if size is None else size
    warped = cv2.warpAffine(label_map, matrix, (width, height), flags=cv2.INTER_NEAREST)
    is_whole_shift = np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(matrix, np.round(matrix))
    if interpolation == 'nearest' or is_whole_shift:
        return warped
    # The border is repeated, since a point half a pixel outside the frame may have half of its weight inside.
    is_near_outline = cv2.warpAffine(_near_outlines(label_map), matrix, (width, height), flags=cv2.INTER_NEAREST,
                                     borderMode=cv2.BORDER_REPLICATE)
    y, x = np.nonzero(is_near_outline)
    warped[y, x] = _sample_majority(label_map, x, y, cv2.invertAffineTransform(matrix.astype(np.float64)))
    return warped


def _near_outlines(label_map: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 1 where the 3 x 3 pixels around do not all have one label; outside the frame it is 0."""
    padded = cv2.copyMakeBorder(label_map, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    differs = np.zeros(padded.shape, np.uint8)
    differs[:, :-1] = padded[:, 1:] != padded[:, :-1]
    differs[:-1] |= padded[1:] != padded[:-1]
    return cv2.dilate(differs, np.ones((3, 3), np.uint8))[1:-1, 1:-1]


def _sample_majority(label_map: np.ndarray, x: np.ndarray, y: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Labels (M,) int32 of the output pixels (x, y), (M,) each; ``inverse`` (2, 3) takes them to the input."""
    padded = cv2.copyMakeBorder(label_map, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in inverse)
    x_low = np.clip(np.floor(source_x), -1, label_map.shape[1] - 1)
    y_low = np.clip(np.floor(source_y), -1, label_map.shape[0] - 1)
    top_left = (y_low.astype(np.int64) + 1) * padded.shape[1] + x_low.astype(np.int64) + 1
    corners = np.stack([padded.ravel()[top_left + step] for step in (0, 1, padded.shape[1], padded.shape[1] + 1)])
    return _choose_at_points(corners, np.clip(source_y - y_low, 0, 1), np.clip(source_x - x_low, 0, 1))
