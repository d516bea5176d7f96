"""Measures stain, brightness and focus of an image."""

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.color import rgb2hed

from mmcell.images.channel_order import nuclear_hue

# Pixels of which every colour is at least this bright are empty glass.
_WHITE = 235


@dataclass(frozen=True)
class Stain:
    """Stain, brightness and focus of an image.

    Attributes:
        hed: (2, 3) float32, mean and standard deviation of haematoxylin, eosin and DAB, as scikit-image's ``rgb2hed``
            separates them, at a quarter of the scale.
        rgb: (2, 3) float32, mean and standard deviation of red, green and blue, 0 to 255.
        white: The share of white pixels, 0 to 1.
        contrast: The difference of the percentiles .1 and 99.9 of the brightness, at a quarter of the scale, 0 to 255.
        focus: The logarithm of the variance of the Laplacian, relative to the variance of the brightness.
        hue: How much more the nuclei absorb red than blue: :func:`mmcell.images.channel_order.nuclear_hue`.
    """

    hed: np.ndarray
    rgb: np.ndarray
    white: float
    contrast: float
    focus: float
    hue: float


def measure_stain(image: np.ndarray) -> Stain:
    """Measures an image (H, W, 3) uint8."""
    small = image
    if min(image.shape[:2]) > 4:
        small = cv2.resize(image, None, fx=.25, fy=.25, interpolation=cv2.INTER_AREA)
    gray = image.mean(axis=2, dtype=np.float32)
    sharpness = cv2.Laplacian(cv2.GaussianBlur(gray, (0, 0), .7), cv2.CV_32F).var()
    return Stain(_mean_and_scatter(rgb2hed(small)), _mean_and_scatter(small),
                 white=float((small.min(axis=2) >= _WHITE).mean()),
                 contrast=float(np.ptp(np.percentile(small.mean(axis=2), (.1, 99.9)))),
                 focus=float(np.log((sharpness + 1e-3) / (gray.var() + 1.))), hue=nuclear_hue(image))


def _mean_and_scatter(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1, 3)
    return np.stack([flat.mean(axis=0), flat.std(axis=0)]).astype(np.float32)
