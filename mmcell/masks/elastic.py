"""Functions over arrays that deform images and label maps by a smooth random field (Simard et al. 2003)."""

import math

import cv2
import numpy as np

from mmcell.masks.warps import sample_labels

# OpenCV interpolates at multiples of 1/32 px. Points are rounded to these, so that labels are sampled at the same ones.
_STEPS_PER_PX = 32


def draw_field(shape: tuple[int, int], sigma_px: float, amplitude_px: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a displacement field: independent uniform numbers, smoothed by a Gaussian.

    Displacements at a distance d have the correlation exp(-d^2 / (4 sigma^2)). The field is drawn on a grid with at
    least four points per sigma, which is enough for a field as smooth as this, and enlarged: a wide Gaussian over all
    pixels would take most of the time.

    Args:
        shape: (height, width) in px.
        sigma_px: Standard deviation of the Gaussian in px.
        amplitude_px: Standard deviation of the displacements in x, and of those in y, in px.
        rng: Where the numbers come from.

    Returns:
        (height, width, 2) float32, displacement in x and y in px.
    """
    step = max(int(sigma_px // 4), 1)
    sigma = sigma_px / step
    margin = math.ceil(4 * sigma)
    # The margin is blurred too and cut off, so that displacements at the border vary as much as in the middle.
    grid = [math.ceil(side / step) + 2 * margin for side in shape]
    noise = rng.uniform(-1, 1, (*grid, 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (2 * margin + 1,) * 2, sigma, borderType=cv2.BORDER_REFLECT)
    kernel = cv2.getGaussianKernel(2 * margin + 1, sigma)
    # Uniform numbers from -1 to 1 have the variance 1/3; blurring multiplies it by the sum of all squared weights.
    smooth *= amplitude_px / math.sqrt((kernel ** 2).sum() ** 2 / 3)
    field = cv2.resize(smooth, (grid[1] * step, grid[0] * step), interpolation=cv2.INTER_CUBIC)
    start = margin * step
    return np.ascontiguousarray(field[start:start + shape[0], start:start + shape[1]])


def field_points(field: np.ndarray) -> np.ndarray:
    """Returns the point (x, y) in px that each output pixel comes from, (H, W, 2) float32, kept inside the frame."""
    height, width = field.shape[:2]
    points = field.astype(np.float32)
    points[..., 0] += np.arange(width, dtype=np.float32)
    points[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    points = np.rint(points * _STEPS_PER_PX) / _STEPS_PER_PX
    np.clip(points[..., 0], 0, width - 1, out=points[..., 0])
    np.clip(points[..., 1], 0, height - 1, out=points[..., 1])
    return points


def deform_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Samples an image bilinearly at the points of :func:`field_points`."""
    deformed = cv2.remap(image, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return deformed.reshape(image.shape)


def deform_labels(label_map: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Samples a label map (H, W) int32 at the points of :func:`field_points`, by the rule of all warps of masks."""
    return sample_labels(label_map, points[..., 0].ravel(), points[..., 1].ravel()).reshape(points.shape[:2])
