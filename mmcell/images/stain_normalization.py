"""Functions over arrays that give an image the stains or the colours of another image.

Images are (H, W, 3) uint8 in the order red, green, blue. Optical densities here are natural logarithms,
D = -ln(I / 240), as in the implementation that the standard target of Macenko's method comes from.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mmcell.images.appearance import change_densities, is_stained_brightfield

# Values of empty glass. It belongs to the standard target, too.
_GLASS = 240
# A pixel is tissue if its density is at least this, on average over the channels: beta of Macenko et al. 2009. Common
# implementations ask for this density in each channel, which leaves out pure eosin, because it absorbs hardly any red.
_LEAST_DENSITY = .15
# Percentiles of angles and amounts that are taken for the extremes, as in the paper.
_PERCENTILE = 1
# Stains are estimated from about this many pixels, on a regular grid: more do not change them.
_MAX_PIXELS = 250_000
# Below these, there is too little tissue, or only one stain, and what is estimated is noise.
_LEAST_TISSUE_FRACTION = .01
_LEAST_ANGLE_DEGREES = 5
_LEAST_AMOUNT = .05
_LEAST_LAB_DEVIATION = .5
# Between densities before and after. It is .94 to 1 in 61 images in H&E (34 of the challenge, 27 of CoNSeP), and -.54
# to .47 in 9 of 10 images of the Data Science Bowl 2018 that are stained with one purple dye.
_LEAST_CORRELATION = .7


@dataclass(frozen=True)
class StainTarget:
    """The two stains of an image, for Macenko's method.

    Attributes:
        stains: (2, 3) float, the densities of haematoxylin and eosin (rows) in red, green, blue; rows have length 1.
        amounts: (2,) float, the 99th percentile of the amount of each stain.
    """

    stains: np.ndarray
    amounts: np.ndarray


@dataclass(frozen=True)
class ColorTarget:
    """The distribution of colours of an image in CIELAB, for Reinhard's method.

    Attributes:
        means: (3,) float, the means of L, a and b.
        deviations: (3,) float, their standard deviations.
    """

    means: np.ndarray
    deviations: np.ndarray


# The defaults of normalizeStaining.m by Mitko Veta, https://github.com/mitkovetta/staining-normalization. Other
# packages, such as torchstain, have the same values.
STANDARD_STAINS = StainTarget(np.array([[.5626, .7201, .4062], [.2159, .8012, .5581]]), np.array([1.9705, 1.0308]))
# The preset 'v1' of the method 'reinhard' in slideflow/norm/utils.py, https://github.com/slideflow/slideflow.
STANDARD_COLORS = ColorTarget(np.array([72.272896, 22.99831, -13.860236]), np.array([15.594496, 9.642087, 9.290526]))


def estimate_stains(image: np.ndarray) -> StainTarget | None:
    """Estimates the two stains of an image and how much there is of them (Macenko et al. 2009).

    The densities of tissue lie near a plane through the origin, which the two greatest singular vectors span. In this
    plane, the 1st and 99th percentile of the angles are the stains; the one with more red density is haematoxylin.
    Amounts are percentiles over the tissue, so that they do not depend on how much of the image is empty glass.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        The stains; None if there are no two stains to find: the image is dark, grey or empty, or has one colour.
    """
    if not is_stained_brightfield(image):
        return None
    tissue, fraction = _tissue_densities(image)
    if len(tissue) < 3 or fraction < _LEAST_TISSUE_FRACTION:
        return None
    # Eigenvectors of D'D are the right singular vectors of D; eigenvalues ascend.
    plane = np.linalg.eigh(tissue.T @ tissue)[1][:, :0:-1]
    # Densities are positive: the first direction points their way, so that no angle is near 180 degrees.
    plane[:, 0] *= np.sign(plane[:, 0].sum())
    angles = np.arctan2(*(tissue @ plane).T[::-1])
    extremes = np.percentile(angles, [_PERCENTILE, 100 - _PERCENTILE])
    if np.ptp(extremes) < math.radians(_LEAST_ANGLE_DEGREES):
        return None
    stains = np.column_stack([np.cos(extremes), np.sin(extremes)]) @ plane.T
    stains = stains[np.argsort(-stains[:, 0])]
    amounts = np.percentile(tissue @ np.linalg.pinv(stains), 100 - _PERCENTILE, axis=0)
    return StainTarget(stains, amounts) if amounts.min() >= _LEAST_AMOUNT else None


def _tissue_densities(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the densities (N, 3) of tissue, on a grid of pixels, and the fraction of these pixels that is tissue."""
    step = max(math.isqrt(image.shape[0] * image.shape[1] // _MAX_PIXELS), 1)
    densities = -np.log(np.maximum(image[::step, ::step].reshape(-1, 3), 1) / _GLASS)
    is_tissue = densities.mean(axis=1) >= _LEAST_DENSITY
    return densities[is_tissue], is_tissue.mean()


def normalize_stains(image: np.ndarray, target: StainTarget = STANDARD_STAINS) -> np.ndarray:
    """Replaces the two stains of an image by those of a target, and scales their amounts to it (Macenko et al. 2009).

    The paper drops the part of a density that is a mixture of neither stain. Here it is kept, along the direction at
    right angles to both stains. Hence an image that is normalised to itself does not change.

    Args:
        image: (H, W, 3) uint8.
        target: What the image is to look like.

    Returns:
        (H, W, 3) uint8; the image itself if :func:`estimate_stains` finds no two stains in it, or if dark tissue would
        become light and light tissue dark. This happens where there is only one dye, in shades of one colour.
    """
    found = estimate_stains(image)
    if found is None:
        return image
    scales = np.append(target.amounts / found.amounts, 1)
    matrix = np.linalg.inv(_with_normal(found.stains)) @ np.diag(scales) @ _with_normal(target.stains)
    if _keeps_shades(_tissue_densities(image)[0], matrix):
        return change_densities(image, matrix, _GLASS)
    return image


def _keeps_shades(tissue: np.ndarray, matrix: np.ndarray) -> bool:
    """Whether pixels of tissue, (N, 3) densities, that are darker than others stay so when multiplied by a matrix."""
    return np.corrcoef(tissue.mean(axis=1), (tissue @ matrix).mean(axis=1))[0, 1] >= _LEAST_CORRELATION


def _with_normal(stains: np.ndarray) -> np.ndarray:
    """Appends the unit vector at right angles to both stains; returns (3, 3)."""
    normal = np.cross(*stains)
    return np.vstack([stains, normal / np.linalg.norm(normal)])


def measure_colors(image: np.ndarray) -> ColorTarget | None:
    """Returns means and standard deviations in CIELAB; None if the image is dark, or grey, or has one colour."""
    if not is_stained_brightfield(image):
        return None
    lab = _to_lab(image).reshape(-1, 3)
    colors = ColorTarget(lab.mean(axis=0, dtype=float), lab.std(axis=0, dtype=float))
    return colors if colors.deviations.min() >= _LEAST_LAB_DEVIATION else None


def normalize_colors(image: np.ndarray, target: ColorTarget = STANDARD_COLORS) -> np.ndarray:
    """Gives L, a and b of an image the means and standard deviations of a target (Reinhard et al. 2001).

    The paper works in l-alpha-beta; CIELAB is what most implementations for histology use instead. All pixels count, so
    that the result depends on how much of the image is empty glass.

    Args:
        image: (H, W, 3) uint8.
        target: What the image is to look like.

    Returns:
        (H, W, 3) uint8; the image itself if :func:`measure_colors` finds no colours in it.
    """
    found = measure_colors(image)
    if found is None:
        return image
    factors = target.deviations / found.deviations
    lab = _to_lab(image) * factors.astype(np.float32) + (target.means - found.means * factors).astype(np.float32)
    lab[..., 0] = lab[..., 0].clip(0, 100)
    return np.rint(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB).clip(0, 1) * 255).astype(np.uint8)


def _to_lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
