"""Small pictures and key points of images, by which copies and overlaps are found without reading the images again."""

from dataclasses import dataclass

import cv2
import numpy as np

# The thumbnail has a quarter of the image's scale, so that thumbnails of overlapping images can be compared.
THUMBNAIL_FACTOR = 4
SQUARE_PX = 32
# Key points are sought at half the scale, with descriptors of patches of 31 px there.
_KEYPOINT_FACTOR, _PATCH_PX = 2, 31
_MIN_KEYPOINTS, _MAX_KEYPOINTS, _PX_PER_KEYPOINT = 60, 250, 500


@dataclass(frozen=True)
class Prints:
    """How an image is recognized.

    Attributes:
        thumbnail: (H / 4, W / 4) uint8, the brightness.
        square: (32, 32) float32, the brightness reduced to a square, with mean 0 and length 1; 0 for an even image.
        points_xy: (K, 2) float32, key points in px of the image.
        descriptors: (K, 32) uint8, binary ORB descriptors, which do not depend on turns and brightness.
        mirrored_points_xy: (K', 2) float32, key points of the image mirrored left to right, in px of that image.
        mirrored_descriptors: (K', 32) uint8.
    """

    thumbnail: np.ndarray
    square: np.ndarray
    points_xy: np.ndarray
    descriptors: np.ndarray
    mirrored_points_xy: np.ndarray
    mirrored_descriptors: np.ndarray


def make_prints(image: np.ndarray) -> Prints:
    """Returns the prints of an image (H, W, 3) uint8."""
    gray = image.mean(axis=2, dtype=np.float32)
    half = _shrink(gray, _KEYPOINT_FACTOR).round().astype(np.uint8)
    return Prints(_shrink(gray, THUMBNAIL_FACTOR).round().astype(np.uint8), make_square(gray),
                  *_find_keypoints(half), *_find_keypoints(np.ascontiguousarray(half[:, ::-1])))


def make_square(gray: np.ndarray) -> np.ndarray:
    """Returns an image (H, W) reduced to (32, 32) float32, with mean 0 and length 1; 0 for an even image."""
    square = cv2.resize(gray.astype(np.float32), (SQUARE_PX, SQUARE_PX), interpolation=cv2.INTER_AREA)
    square -= square.mean()
    length = np.linalg.norm(square)
    return square / length if length > SQUARE_PX * .5 else np.zeros_like(square)


def _shrink(gray: np.ndarray, factor: int) -> np.ndarray:
    height, width = (max(1, side // factor) for side in gray.shape)
    whole = gray[:height * factor, :width * factor] if min(gray.shape) >= factor else gray
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _find_keypoints(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n_points = int(np.clip(half.size / _PX_PER_KEYPOINT, _MIN_KEYPOINTS, _MAX_KEYPOINTS))
    finder = cv2.ORB_create(nfeatures=n_points, nlevels=1, edgeThreshold=16, patchSize=_PATCH_PX, fastThreshold=5)
    keypoints, descriptors = finder.detectAndCompute(half, None)
    points = np.array([point.pt for point in keypoints], np.float32).reshape(-1, 2) * _KEYPOINT_FACTOR
    return points, np.zeros((0, 32), np.uint8) if descriptors is None else descriptors
