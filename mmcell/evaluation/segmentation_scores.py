"""Segmentation scores of a set of images, pooled and averaged."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.image_statistics import ImageStatistics


def segmentation_scores(statistics: Sequence[ImageStatistics], class_names: Sequence[str],
                        weights: np.ndarray | None = None) -> dict[str, float]:
    """Returns all scores of a set of images; docs/reference/metrics.md defines them.

    Args:
        statistics: The result of ``image_statistics`` for each image.
        class_names: The names of the classes.
        weights: (n_images,) numbers, how often each image counts; None counts each once.

    Returns:
        Names with values from 0 to 1. ``PQ_pooled`` divides the sums over all images. ``PQ_image_mean`` is the mean
        over the images in which PQ is defined. ``PQ_pooled/lymphocyte`` is the value of one class. A value is NaN if no
        image defines the score: no image has true or predicted cells of the class (SQ needs a match, type_accuracy a
        pair of centroids).

    Raises:
        ValueError: There is no image.
    """
    weights = np.ones(len(statistics)) if weights is None else np.asarray(weights)
    scores = resampled_segmentation_scores(statistics, class_names, weights[None])
    return {name: float(values[0]) for name, values in scores.items()}


def resampled_segmentation_scores(statistics: Sequence[ImageStatistics], class_names: Sequence[str],
                                  weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the scores of :func:`segmentation_scores` for many sets of weights at once.

    Args:
        statistics: The result of ``image_statistics`` for each image.
        class_names: The names of the classes.
        weights: (n_resamples, n_images) numbers, how often each image counts.

    Returns:
        Names with values, (n_resamples,) float64 each.

    Raises:
        ValueError: There is no image.
    """
    if not statistics:
        raise ValueError('no image to score; at least one is needed')
    labels = [(name, None if place is None else class_names[place]) for name, place in statistics[0]]
    # Three images have the numerators [3, 1, 0] and the denominators [4, 2, 0] of a score. With the two sets of weights
    # [1, 1, 1] and [0, 2, 1] the pooled values are [4 / 6, 2 / 4]. The values per image are [.75, .5, NaN]. The third
    # image does not define the score and takes no part, so that the image means are [1.25 / 2, 1 / 2].
    # The shape of ratios is (images, scores, 2).
    ratios = np.array([list(image.values()) for image in statistics])
    numerators, denominators = ratios[..., 0], ratios[..., 1]
    pooled = _divide(weights @ numerators, weights @ denominators)
    by_image = _divide(numerators, denominators)
    averaged = _divide(weights @ np.nan_to_num(by_image), weights @ ~np.isnan(by_image))
    # The columns of PQ of each class. An image's mPQ is the mean over the classes that it defines.
    class_columns = [i for i, (name, class_name) in enumerate(labels) if name == 'PQ' and class_name is not None]
    mean_of_image = _mean_of_defined(by_image[:, class_columns])
    scores = {'mPQ_pooled': _mean_of_defined(pooled[:, class_columns]),
              'mPQ_image_mean': _divide(weights @ np.nan_to_num(mean_of_image), weights @ ~np.isnan(mean_of_image))}
    for i, (name, class_name) in enumerate(labels):
        suffix = '' if class_name is None else f'/{class_name}'
        scores[f'{name}_pooled{suffix}'] = pooled[:, i]
        scores[f'{name}_image_mean{suffix}'] = averaged[:, i]
    return scores


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Returns the quotients, which are NaN if the denominator is 0."""
    return np.divide(numerators, denominators, out=np.full(np.shape(numerators), np.nan), where=denominators != 0)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the means of the values that are not NaN over the last axis; NaN if there are none."""
    return _divide(np.nansum(values, axis=-1), np.sum(~np.isnan(values), axis=-1))
