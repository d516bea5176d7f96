"""Finds out from the colours of stained nuclei whether red and blue are swapped in an image."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmcell.errors import MmcellError
from mmcell.images.image_file import ImageFile, open_image
from mmcell.images.limits import ImageReadError

# The following numbers were chosen on the images of MoNuSAC, CoNSeP and the Data Science Bowl 2018 that are described
# in docs/studies/red_and_blue.md.
SIDE_PX = 512
# Pixels whose mean optical density is above this value are tissue.
TISSUE_DENSITY = .2
# The share of pixels that must be tissue.
MIN_TISSUE = .01
# In light that has passed through tissue, every channel is brighter than this value (0 to 255) somewhere, and more than
# half of the pixels are in their brightest channel. Fluorescence has a dark background.
MIN_BRIGHTNESS = 100
# An absolute hue below this value tells nothing.
MIN_HUE = .1
# So many images of a set are looked at, which are spread evenly over the set.
MAX_IMAGES = 20


def other_order(channel_order: str) -> str:
    """Returns 'bgr' for 'rgb', and 'rgb' for 'bgr'."""
    return channel_order[::-1]


def looks_swapped(image: np.ndarray) -> bool | None:
    """Returns whether red and blue look swapped in an image; None if its colours do not tell.

    Args:
        image: (H, W, 3) uint8 in the order red, green, blue, as it would be shown to a model.
    """
    hue = nuclear_hue(image)
    return None if abs(hue) < MIN_HUE else hue < 0


def nuclear_hue(image: np.ndarray) -> float:
    """Measures whether the nuclei of an H&E image absorb more red or more blue than the tissue around them.

    Haematoxylin, which stains nuclei, absorbs more red than blue light: its optical densities are .65, .70 and .29 for
    red, green and blue. Eosin, which stains everything else, has .07, .99 and .11 (A. C. Ruifrok and D. A. Johnston,
    Quantification of histochemical staining by color deconvolution, Anal Quant Cytol Histol 23, 2001). Nuclei are found
    without knowing which channel is red: they are the tenth of the tissue that absorbs most of both red and blue.
    They are compared with the half of the tissue that absorbs least.

    Args:
        image: (H, W, 3) uint8 in the order red, green, blue.

    Returns:
        The hue, from -1 to 1, about. Positive: nuclei are blue or purple, as they should be. Negative: nuclei are
        brown, as if red and blue were swapped. The other order has exactly the opposite hue. 0: the image is not in
        the colours of H&E, because its background is dark, it has hardly any tissue, or its tissue does not absorb
        green most.
    """
    scale = min(1., SIDE_PX / max(image.shape[:2]))
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    pixels = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 1).reshape(-1, 3)
    white = np.percentile(pixels, 99, axis=0).clip(1)
    densities = np.maximum(-np.log(pixels.clip(1) / white), 0)
    tissue = densities[densities.mean(1) > TISSUE_DENSITY]
    is_dark = min(white.min(), np.median(pixels.max(1))) < MIN_BRIGHTNESS
    if is_dark or len(tissue) < max(1, MIN_TISSUE * len(pixels)):
        return 0.
    red, green, blue = tissue.T
    if green.mean() <= max(red.mean(), blue.mean()):
        return 0.
    absorbed = np.minimum(red, blue)
    nuclei, rest = absorbed >= np.quantile(absorbed, .9), absorbed <= np.median(absorbed)
    contrast = [values[nuclei].mean() - values[rest].mean() for values in (red - blue, red + blue)]
    return float(contrast[0] / contrast[1]) if contrast[1] > 1e-6 else 0.


def read_samples(image: ImageFile) -> np.ndarray:
    """Reads 3 x 3 squares that are spread evenly over an image of any size, and returns them below one another.

    Args:
        image: The open image.

    Returns:
        (9 * height, width, 3) uint8, in the channel order of ``image``; 512 x 512 px per square if the image has them.
    """
    height, width = min(SIDE_PX, image.height), min(SIDE_PX, image.width)
    tops, lefts = (np.linspace(0, side - square, 3).astype(int).tolist()
                   for side, square in ((image.height, height), (image.width, width)))
    return np.concatenate([image.read(left, top, left + width, top + height) for top in tops for left in lefts])


def spread_evenly(items: Sequence) -> Sequence:
    """Returns at most ``MAX_IMAGES`` of some items, which are spread evenly over them."""
    return items[::max(1, -(-len(items) // MAX_IMAGES))]


def file_looks_swapped(image: ImageFile) -> bool | None:
    """Returns :func:`looks_swapped` of an open image file; None also if it cannot be read as a whole."""
    try:
        return looks_swapped(image.read())
    except ImageReadError:
        return None


def count_swapped(paths: Sequence[Path]) -> tuple[int, int]:
    """Returns in how many image files red and blue look swapped, and in how many they look right.

    At most ``MAX_IMAGES`` files are read. Files that cannot be read, or whose colours do not tell, do not count.
    """
    verdicts = []
    for path in spread_evenly(paths):
        try:
            with open_image(path) as image:
                verdicts.append(file_looks_swapped(image))
        except (MmcellError, OSError):
            continue
    return verdicts.count(True), verdicts.count(False)
