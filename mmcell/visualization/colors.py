"""Class colours that people with colour-vision deficiencies can tell apart."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

# RGB colours of Okabe & Ito, "Color Universal Design" (2008). Black is left out, and the colours that stand out from
# pink and purple tissue come first.
_OKABE_ITO = [(0, 158, 115), (240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 114, 178), (230, 159, 0),
              (204, 121, 167)]
# How linear RGB is seen without red (protanopia) and without green cones (deuteranopia): Machado, Oliveira &
# Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, table 1, severity 1.
_COLOR_BLINDNESS = np.array([
    [[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]],
    [[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]]])
# Colours of tissue and of empty glass in stained sections. Class colours also keep away from them.
_BACKGROUNDS = [(225, 170, 200), (255, 255, 255)]
# Candidates darker than this CIELAB lightness disappear on the dark background of legends.
_MIN_LIGHTNESS = 35
# Whether an image is dark is found out from one of so many pixels.
_LIGHTNESS_STEP = 17
# Values per channel of the candidates: 12 ** 3 = 1,728 colours, of which some 1,450 are light enough.
_LEVELS = 12


def class_colors(n_classes: int) -> list[tuple[int, int, int]]:
    """Returns one RGB colour per class, each value 0–255. A class has the same colour whatever the number of classes.

    The first seven colours are those of Okabe & Ito. Each further colour is the candidate that is farthest from all
    colours before it, for the kind of vision that distinguishes them least. Up to 1,000 classes, no colour repeats.
    """
    colors = _distinct_colors(n_classes)
    return [colors[i % len(colors)] for i in range(n_classes)]


def colors_on(image: np.ndarray, n_classes: int) -> list[tuple[int, int, int]]:
    """Returns the colours of classes for outlines on an image (H, W, 3) uint8 RGB: on a dark one, brighter ones.

    An image is dark if half of its pixels have less than the CIELAB lightness 35. There, the colours of
    :func:`class_colors` get the greatest brightness of their hue. More than seven could not be told apart any more, and
    stay as they are.
    """
    colors = class_colors(n_classes)
    is_dark = np.median(_to_lab(image.reshape(-1, 3)[::_LIGHTNESS_STEP])[0, :, 0]) < _MIN_LIGHTNESS
    if n_classes > len(_OKABE_ITO) or not is_dark:
        return colors
    return [tuple((np.array(color) * 255 / max(color)).round().astype(int).tolist()) for color in colors]


def to_hex(color: Sequence[int]) -> str:
    """Returns an RGB colour, each value 0–255, as web pages and SVG files have it: '#0072b2'."""
    return '#{:02x}{:02x}{:02x}'.format(*color)


@cache
def _distinct_colors(n_classes: int) -> tuple[tuple[int, int, int], ...]:
    colors = _OKABE_ITO[:n_classes]
    if n_classes > len(_OKABE_ITO):
        candidates, seen = _candidates()
        distances = np.min([_distances(seen, color) for color in _OKABE_ITO + _BACKGROUNDS], axis=0)
        while len(colors) < min(n_classes, len(candidates)):
            colors.append(tuple(candidates[distances.argmax()].tolist()))
            distances = np.minimum(distances, _distances(seen, colors[-1]))
    return tuple(colors)


@cache
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Returns N colours, (N, 3) uint8 RGB, and how they are seen, see :func:`_to_lab`."""
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
    colors = colors[_to_lab(colors)[0, :, 0] >= _MIN_LIGHTNESS]
    return colors, _to_lab(colors)


def _distances(seen: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Returns the distance (N,) of colours to one colour for the kind of vision that distinguishes them least."""
    return np.linalg.norm(seen - _to_lab(np.array([color], np.uint8)), axis=-1).min(axis=0)


def _to_lab(colors: np.ndarray) -> np.ndarray:
    """Returns how N colours (N, 3) uint8 RGB are seen normally, protan and deutan: (3, N, 3) float32 CIELAB."""
    share = colors / 255
    linear = np.where(share <= .04045, share / 12.92, ((share + .055) / 1.055) ** 2.4)
    seen = np.stack([linear, *(linear @ matrix.T for matrix in _COLOR_BLINDNESS)]).clip(0, 1).astype(np.float32)
    return cv2.cvtColor(seen, cv2.COLOR_LRGB2Lab)
