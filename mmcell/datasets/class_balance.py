"""Functions over arrays that draw images with rare classes more often."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset

from mmcell.datasets.class_order import class_names


def count_cells(dataset: BaseDataset) -> np.ndarray:
    """Returns the number of cells per image and class, (n_images, n_classes) int64; ignored cells do not count.

    Args:
        dataset: A data set, or a wrapper of data sets, with ``get_data_info`` and the classes in ``metainfo``.
    """
    counts = np.zeros((len(dataset), len(class_names(dataset.metainfo) or ())), np.int64)
    for row, index in zip(counts, range(len(dataset)), strict=True):
        for instance in dataset.get_data_info(index)['instances']:
            if not instance.get('ignore_flag'):
                row[instance['bbox_label']] += 1
    return counts


def class_factors(counts: np.ndarray, threshold: float | None = None, max_factor: float = 5.,
                  unit: str = 'cells') -> np.ndarray:
    """Returns how much more often each class should be drawn: r(c) = max(1, sqrt(t / f(c))), at most ``max_factor``.

    This is the repeat factor of LVIS (Gupta, Dollár & Girshick 2019, arXiv 1908.03195). There, f(c) is the fraction of
    images that contain class c. Of a few classes, even the rare ones are in many images: in CoNSeP, the rarest class
    has 2 % of the cells, but is in half of the images. By default, f(c) is therefore the fraction of cells.

    Args:
        counts: (n_images, n_classes) integers, the number of cells.
        threshold: t, from 0 to 1; classes with a fraction of at least t have the factor 1. None stands for
            1 / n_classes, the fraction that all classes would have if they were equally frequent.
        max_factor: The greatest factor, at least 1.
        unit: 'cells', or 'images' as in LVIS: what f(c) is a fraction of.

    Returns:
        (n_classes,) float64, at least 1. A class without cells has the factor 1.

    Raises:
        ValueError: An argument is not one of those above.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f'threshold must be None or from 0 to 1, got {threshold}')
    if max_factor < 1:
        raise ValueError(f'max_factor must be at least 1, got {max_factor}')
    if unit not in ('cells', 'images'):
        raise ValueError(f"unit must be 'cells' or 'images', got {unit!r}")
    n_images, n_classes = counts.shape
    threshold = 1 / max(n_classes, 1) if threshold is None else threshold
    totals, total = (counts.sum(axis=0), counts.sum()) if unit == 'cells' else ((counts > 0).sum(axis=0), n_images)
    # 15, 75, 10 and 0 of 100 cells, with t = 1/4: the fractions are [.15, .75, .1, 0], t / f is [1.67, .33, 2.5, -],
    # and the factors are [1.29, 1, 1.58, 1].
    ratios = np.divide(threshold * total, totals, out=np.zeros(n_classes), where=totals > 0)
    return np.clip(np.sqrt(ratios), 1, max_factor)


def image_weights(counts: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the weight of each image: the greatest factor of a class that it contains, 1 for an image without cells.

    Args:
        counts: (n_images, n_classes) integers, the number of cells.
        factors: (n_classes,) float, at least 1.

    Returns:
        (n_images,) float64, from 1 to the greatest factor.
    """
    return np.where(counts > 0, factors, 1).max(axis=1, initial=1)


def draw_by_weight(weights: Sequence[float] | np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws N of N images in random order; image i is expected n_i = N * w_i / sum(w) times.

    It is drawn n_i times, rounded down or up, by systematic sampling (Madow 1949, Ann. Math. Stat. 20, 333–354).
    Drawing each image independently would leave out more than a third of the images even if all weights are equal; so
    drawn, equal weights give a permutation.

    Args:
        weights: (N,) positive floats.
        generator: The source of random numbers.

    Returns:
        (N,) int64, indices of images.
    """
    n_images = len(weights)
    order = generator.permutation(n_images)
    ends = np.cumsum(np.asarray(weights, float)[order])
    # Weights 1, 3, 1, 1 have the expectations 2/3, 2, 2/3, 2/3, which fill the intervals up to .67, 2.67, 3.33 and 4.
    # The points .5, 1.5, 2.5 and 3.5 lie in the intervals 0, 1, 1 and 3; the points .8, 1.8, 2.8, 3.8 in 1, 1, 2 and 3.
    points = (np.arange(n_images) + generator.random()) * (ends[-1] / n_images) if n_images else ends
    intervals = np.minimum(np.searchsorted(ends, points, side='right'), n_images - 1)
    return generator.permutation(order[intervals])
