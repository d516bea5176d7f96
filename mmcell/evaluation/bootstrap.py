"""How far a value may lie off for the choice of images: the percentile bootstrap over images.

Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13. Drawn are images, not cells: those of one image
succeed and fail together. With a handful of images the intervals come out too narrow.
"""

import numpy as np


def resample_weights(n_images: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each image is drawn when as many images as there are get drawn with replacement.

    Returns:
        (n_resamples, n_images) int64; every row has the sum n_images.

    Raises:
        ValueError: there is no image.
    """
    if n_images < 1:
        raise ValueError('there is no image to draw')
    drawn = np.random.default_rng(seed).integers(n_images, size=(n_resamples, n_images))
    cells = drawn + n_images * np.arange(n_resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=n_resamples * n_images).reshape(n_resamples, n_images)


def percentile_interval(values: np.ndarray, level: float = .95) -> tuple[float, float]:
    """The interval that holds this part of resampled values, as much of the rest below as above it.

    Args:
        values: (n_resamples,) values or differences. NaN, where a resample has no value, is left out.
        level: 0 to 1.

    Returns:
        Lower and upper end; NaN where there is no value.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float('nan'), float('nan')
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_differences(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """First minus second, (n_resamples,) each, for the names in both. Both must come from the same resamples."""
    return {name: first[name] - second[name] for name in first if name in second}
