"""Scores of cell segmentation over a set of images, pooled and averaged, and the score threshold that is best."""

from collections.abc import Sequence

import numpy as np

from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.image_statistics import ImageStatistics, image_statistics, statistics_of_painted
from mmcell.evaluation.label_maps import paint_pair

__all__ = ['best_threshold', 'image_statistics', 'resampled_segmentation_scores', 'segmentation_scores']


def segmentation_scores(statistics: Sequence[ImageStatistics], class_names: Sequence[str],
                        weights: np.ndarray | None = None) -> dict[str, float]:
    """All scores of a set of images; docs/reference/metrics.md lists them.

    Args:
        statistics: of each image, from ``image_statistics``, all with the same ``class_ids``.
        class_names: in the order of these.
        weights: (n_images,) numbers, how often each image counts; once where not given.

    Returns:
        Values from 0 to 1 by name. ``PQ_pooled`` divides the sums over all images, ``PQ_image_mean`` is the mean over
        the images in which it is defined, and ``PQ_pooled/lymphocyte`` is of one class. NaN where nothing defines a
        score: no image has true or predicted cells of the class (for SQ: a match; for type_accuracy: a pair).

    Raises:
        ValueError: no image, or the number of names or weights does not fit.
    """
    weights = np.ones(len(statistics)) if weights is None else np.asarray(weights)
    scores = resampled_segmentation_scores(statistics, class_names, weights[None])
    return {name: float(values[0]) for name, values in scores.items()}


def resampled_segmentation_scores(statistics: Sequence[ImageStatistics], class_names: Sequence[str],
                                  weights: np.ndarray) -> dict[str, np.ndarray]:
    """:func:`segmentation_scores` for many sets of weights at once.

    Args:
        statistics: of each image.
        class_names: in the order of the class ids.
        weights: (n_resamples, n_images) numbers.

    Returns:
        (n_resamples,) float64 by name.

    Raises:
        ValueError: as :func:`segmentation_scores`.
    """
    labels = _labels(statistics, class_names)
    if weights.ndim != 2 or weights.shape[1] != len(statistics):
        raise ValueError(f'weights must be (n, {len(statistics)}) for as many images, got {weights.shape}')
    # (images, scores, 2)
    ratios = np.array([list(of_image.values()) for of_image in statistics])
    numerators, denominators = ratios[..., 0], ratios[..., 1]
    pooled = _divide(weights @ numerators, weights @ denominators)
    by_image = _divide(numerators, denominators)
    averaged = _divide(weights @ np.nan_to_num(by_image), weights @ ~np.isnan(by_image))
    # PQ of each class within each image, for the mean over the classes of an image.
    of_classes = [i for i, (name, class_name) in enumerate(labels) if name == 'PQ' and class_name is not None]
    mean_of_image = _mean_of_defined(by_image[:, of_classes])
    scores = {'mPQ_pooled': _mean_of_defined(pooled[:, of_classes]),
              'mPQ_image_mean': _divide(weights @ np.nan_to_num(mean_of_image), weights @ ~np.isnan(mean_of_image))}
    for i, (name, class_name) in enumerate(labels):
        suffix = '' if class_name is None else f'/{class_name}'
        scores[f'{name}_pooled{suffix}'] = pooled[:, i]
        scores[f'{name}_image_mean{suffix}'] = averaged[:, i]
    return scores


def _labels(statistics: Sequence[ImageStatistics], class_names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Name and class name of each score, in the order of the statistics."""
    if not statistics:
        raise ValueError('no image to score')
    class_ids = [class_id for name, class_id in statistics[0] if name == 'PQ' and class_id is not None]
    if len(class_ids) != len(class_names):
        raise ValueError(f'statistics are of {len(class_ids)} classes, but {len(class_names)} names are given')
    names = {None: None, **dict(zip(class_ids, class_names, strict=True))}
    return [(name, names[class_id]) for name, class_id in statistics[0]]


def _divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.divide(numerators, denominators, out=np.full(np.shape(numerators), np.nan), where=denominators != 0)


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where all is."""
    return _divide(np.nansum(values, axis=-1), np.sum(~np.isnan(values), axis=-1))


def best_threshold(pairs: Sequence[ImagePair], categories: Sequence[dict], thresholds: Sequence[float],
                   by: str = 'PQ_pooled') -> tuple[float, list[dict[str, float]]]:
    """The score threshold with the highest value of one score. To be chosen on validation images, never on test ones.

    Args:
        pairs: the images; each is painted once, whatever the number of thresholds.
        categories: COCO categories.
        thresholds: score thresholds to try.
        by: name of a score, as ``segmentation_scores`` gives it.

    Returns:
        The best threshold, the first of those with equal values, and for each threshold all scores, with the threshold
        itself as ``score_threshold``.

    Raises:
        ValueError: no image, no threshold, ``by`` is no score, or it is NaN at every threshold.
    """
    class_ids, class_names = ([category[key] for category in categories] for key in ('id', 'name'))
    painted = [paint_pair(pair) for pair in pairs]
    table = []
    for threshold in thresholds:
        statistics = [statistics_of_painted(image.above(threshold), class_ids) for image in painted]
        table.append({'score_threshold': float(threshold), **segmentation_scores(statistics, class_names)})
    if table and by not in table[0]:
        raise ValueError(f'no score {by!r}; there are {", ".join(list(table[0])[1:])}')
    values = np.array([row[by] for row in table])
    if np.isnan(values).all():
        raise ValueError(f'{by} is not defined at any of the thresholds {list(thresholds)}')
    return table[int(np.nanargmax(values))]['score_threshold'], table
