"""Tells empty glass from tissue in bright-field images."""

import cv2
import numpy as np

# Glass is bright in all channels, and nearly grey. Means over squares of this side are looked at, because single pixels
# are noisy.
_SQUARE_PX = 8
_LEAST_BRIGHT, _MOST_COLOR = 205, 15


def shows_only_glass(image: np.ndarray) -> bool:
    """Returns whether a part of a bright-field image has no square of 8 px with tissue, dust or ink in it.

    Args:
        image: (H, W, 3) uint8, in any order of the colours.
    """
    height, width = (max(side // _SQUARE_PX, 1) for side in image.shape[:2])
    means = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    darkest, brightest = means.min(axis=2), means.max(axis=2)
    return bool((darkest >= _LEAST_BRIGHT).all() and (brightest - darkest <= _MOST_COLOR).all())
