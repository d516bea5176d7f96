"""The uncertainty of a value that comes from the choice of images: the percentile bootstrap over images.

Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13. Images are drawn, not cells, because the cells of
one image succeed and fail together. If there are only a few images, the intervals are too narrow.
"""

import numpy as np


def resample_weights(n_images: int, n_resamples: int, seed: int) -> np.ndarray:
    """Draws images with replacement, as many as there are, and returns how often each image is drawn.

    Args:
        n_images: The number of images.
        n_resamples: How many times a set of images is drawn.
        seed: The seed of the random numbers.

    Returns:
        (n_resamples, n_images) int64. Every row has the sum n_images.

    Raises:
        ValueError: There is no image.
    """
    if n_images < 1:
        raise ValueError(f'at least one image is needed to draw from, got {n_images}')
    # Two resamples of three images that draw [[0, 2, 2], [1, 1, 0]] get the entries [[0, 2, 2], [4, 4, 3]] of a flat
    # table with three entries per resample. Counted, this is [[1, 0, 2], [1, 2, 0]].
    drawn = np.random.default_rng(seed).integers(n_images, size=(n_resamples, n_images))
    entries = drawn + n_images * np.arange(n_resamples)[:, None]
    return np.bincount(entries.ravel(), minlength=n_resamples * n_images).reshape(n_resamples, n_images)


def percentile_interval(values: np.ndarray, level: float = .95) -> tuple[float, float]:
    """Returns the interval that contains the central part of resampled values.

    Args:
        values: (n_resamples,) values or differences. NaN, which stands for a resample without a value, is left out.
        level: The share of the values inside the interval, 0 to 1. Of the other values half are below and half above.

    Returns:
        The lower and the upper end, both NaN if there is no value.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float('nan'), float('nan')
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
