"""Functions over arrays that resize label maps and warp them by affine matrices.

Nearest-neighbour sampling is done by OpenCV on int32, and so follows the same rule as for a bitmap of uint8. A
framework that warps bitmaps linearly interpolates zeros and ones and rounds the result. In other words, a pixel is
inside if the instance has at least half of the weights of the four pixels around the sampled point. The same rule can
be applied to a label map, for all instances at once: see :func:`_choose_majority`. Only pixels near outlines need it.
The results differ from OpenCV's where an instance has close to half of the weights, because OpenCV rounds coordinates
to 1/32 px, and because only one of two instances with exactly half each can have the pixel.
"""

import cv2
import numpy as np

INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')
# Slightly less than one half, because weights are sums of rounded products.
_HALF = .5 - 1e-6


def _check_interpolation(interpolation: str) -> None:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f'interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}')


def resize_labels(label_map: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Resizes a label map.

    Args:
        label_map: (H, W) int32, 0 = background.
        height: Height of the output in px.
        width: Width of the output in px.
        interpolation: 'nearest' is ``cv2.resize``. Any other of :data:`INTERPOLATIONS` gives each output pixel to the
            instance that has at least half of the bilinear weights around its centre.

    Returns:
        (height, width) int32.

    Raises:
        ValueError: The interpolation is unknown.
    """
    _check_interpolation(interpolation)
    if interpolation == 'nearest':
        return cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST)
    y_low, y_high, y_weight = _resize_taps(label_map.shape[0], height)
    x_low, x_high, x_weight = _resize_taps(label_map.shape[1], width)
    corners = np.stack([label_map[np.ix_(y, x)] for y in (y_low, y_high) for x in (x_low, x_high)])
    y_weights, x_weights = (weight.ravel() for weight in np.meshgrid(y_weight, x_weight, indexing='ij'))
    return _choose_majority(corners.reshape(4, -1), y_weights, x_weights).reshape(height, width)


def _resize_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the two source pixels of each output pixel, and the weight of the second, as OpenCV has them."""
    # From 4 to 3 pixels the centres of output pixels lie at 1/6, 1 1/2 and 2 5/6, hence between the source pixels 0 and
    # 1, 1 and 2, 2 and 3. The weights of the second ones are [1/6, 1/2, 5/6].
    source = np.clip((np.arange(new_size) + .5) * (size / new_size) - .5, 0, size - 1)
    low = source.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), source - low


def _choose_majority(corners: np.ndarray, y_weight: np.ndarray, x_weight: np.ndarray) -> np.ndarray:
    """Chooses, for points between pixels, the label that has at least half of the bilinear weights.

    Args:
        corners: (4, M) int32, the labels at the top left, top right, bottom left and bottom right of each point.
        y_weight: (M,) float from 0 to 1, the weight of the two bottom pixels.
        x_weight: (M,) float from 0 to 1, the weight of the two right pixels.

    Returns:
        (M,) int32, 0 where no instance has half of the weight. Of two instances with half each, the one that comes
        later in ``corners`` is chosen.
    """
    # Most points lie inside one instance or the background, where all four labels are equal: nothing to compute.
    labels = corners[0].copy()
    mixed = np.flatnonzero((corners[1:] != corners[0]).any(axis=0))
    y, x = y_weight[mixed], x_weight[mixed]
    weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    # The labels 1, 1, 2, 0 with the weights .3, .3, .2, .2 give 1, which has .6. The labels 1, 2, 3, 0 with .25 each
    # give 0. The labels 1, 2, 1, 2 with .25 each give 2.
    winners = np.zeros(len(mixed), np.int32)
    for candidates in corners[:, mixed]:
        support = np.where(corners[:, mixed] == candidates, weights, 0).sum(axis=0)
        np.copyto(winners, candidates, where=(support >= _HALF) & (candidates > 0))
    labels[mixed] = winners
    return labels


def warp_labels(label_map: np.ndarray, matrix: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Warps a label map by an affine matrix. Output pixels that come from outside the frame are background.

    Args:
        label_map: (H, W) int32, 0 = background.
        matrix: (2, 3) float, maps (x, y) px of the input to (x, y) px of the output. Pixel centres have whole
            coordinates.
        size: (height, width) of the output in px.
        interpolation: 'nearest' is ``cv2.warpAffine``. Any other of :data:`INTERPOLATIONS` gives each output pixel to
            the instance that has at least half of the bilinear weights around the point that the pixel comes from.

    Returns:
        (height, width) int32.

    Raises:
        ValueError: The interpolation is unknown.
    """
    _check_interpolation(interpolation)
    warped = cv2.warpAffine(label_map, matrix, size[::-1], flags=cv2.INTER_NEAREST)
    is_whole_shift = np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(matrix, np.round(matrix))
    if interpolation == 'nearest' or is_whole_shift:
        return warped
    # Pixels far from outlines are right already. The border is repeated, because a point half a pixel outside the frame
    # may have half of its weight inside.
    is_near_outline = cv2.warpAffine(_mark_outlines(label_map), matrix, size[::-1], flags=cv2.INTER_NEAREST,
                                     borderMode=cv2.BORDER_REPLICATE)
    y, x = np.nonzero(is_near_outline)
    warped[y, x] = _sample_majority(label_map, x, y, cv2.invertAffineTransform(matrix.astype(np.float64)))
    return warped


def _mark_outlines(label_map: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8, 1 at least where the 3 x 3 pixels around a pixel differ; outside the frame labels are 0."""
    # A border between the columns 2 and 3 is noted at column 2. Widened by one pixel to each side it marks the columns
    # 1, 2 and 3: the columns 2 and 3 touch the border, and column 1 is the surplus.
    padded = cv2.copyMakeBorder(label_map, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    differs = np.zeros(padded.shape, np.uint8)
    differs[:, :-1] = padded[:, 1:] != padded[:, :-1]
    differs[:-1] |= padded[1:] != padded[:-1]
    return cv2.dilate(differs, np.ones((3, 3), np.uint8))[1:-1, 1:-1]


def _sample_majority(label_map: np.ndarray, x: np.ndarray, y: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Chooses the labels of the output pixels (x, y); the inverse matrix maps them to points (x, y) of the input."""
    return sample_labels(label_map, *(row[0] * x + row[1] * y + row[2] for row in inverse))


def sample_labels(label_map: np.ndarray, source_x: np.ndarray, source_y: np.ndarray) -> np.ndarray:
    """Samples a label map at points: the instance that has at least half of the bilinear weights around the point.

    Args:
        label_map: (H, W) int32, 0 = background, also outside the frame.
        source_x: (M,) float, x of the points in px. Pixel centres have whole coordinates.
        source_y: (M,) float, y of the points in px.

    Returns:
        (M,) int32.
    """
    # The map gets a border of background, so that every point in the frame or up to 1 px outside has four pixels around
    # it. For points farther outside, weights are clipped to 0 and 1, so that only pixels of the border count.
    padded = cv2.copyMakeBorder(label_map, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    x_low = np.clip(np.floor(source_x), -1, label_map.shape[1] - 1)
    y_low = np.clip(np.floor(source_y), -1, label_map.shape[0] - 1)
    top_left = (y_low.astype(np.int64) + 1) * padded.shape[1] + x_low.astype(np.int64) + 1
    corners = np.stack([padded.ravel()[top_left + step] for step in (0, 1, padded.shape[1], padded.shape[1] + 1)])
    return _choose_majority(corners, np.clip(source_y - y_low, 0, 1), np.clip(source_x - x_low, 0, 1))
