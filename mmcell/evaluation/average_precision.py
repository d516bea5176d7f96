"""COCO average precision and recall, under names that contain the cap on detections."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from mmcell.annotations.ground_truth import ImageSet
from mmcell.evaluation.coco_matching import ClassMatches, match_classes
from mmcell.evaluation.greedy_matching import IOU_THRESHOLDS
from mmcell.evaluation.pairs import Pairs
from mmcell.ragged import index_in_group

CAPS = (None, 100)
SIZE_BINS_PX = (16, 32)
PREFIXES = {'segm': '', 'bbox': 'bbox_'}
RECALLS = np.linspace(0, 1, 101)
# Each measure is the mean of some columns of a table. The columns are the IoU thresholds .50, .55 … .95.
MEASURES = {'AP': ('precision', slice(None)), 'AP50': ('precision', slice(0, 1)), 'AP75': ('precision', slice(5, 6)),
            'AR': ('recall', slice(None))}
# How many numbers an array of resampled curves may hold: 2 ** 20 float64 are 8 MiB.
_MAX_CURVE_VALUES = 2 ** 20


def average_precisions(pairs: Pairs, *, kinds: Sequence[str] = ('segm', 'bbox'), caps: Sequence[int | None] = CAPS,
                       size_bins_px: Sequence[float] = SIZE_BINS_PX) -> dict[str, float]:
    """Returns COCO's average precision and recall over images, classes and IoU thresholds.

    At equal caps the values are those of pycocotools; values of masks by size are those for results without ``bbox``,
    because pycocotools takes the area of a detection from its box if it has one. A name consists of

    - ``bbox_`` for boxes, or nothing for masks;
    - the measure: ``AP`` is the mean over the IoU thresholds .50, .55 … .95 of the interpolated precision at 101
      recalls, ``AP50`` and ``AP75`` have the single IoU threshold .50 and .75, and ``AR`` is the mean over the ten IoU
      thresholds of the largest recall;
    - the cap, for example ``@100``: only the 100 detections with the best scores count per image and class (COCO's
      ``maxDets``). Without a cap in the name every detection counts;
    - ``/`` and a class, or ``/`` and a size, for example ``/0-16px``, ``/16-32px`` or ``/32px+``. Without this ending
      the value is the mean over the classes that have a true cell.

    ``AP50@100/16-32px`` is AP50 of the masks of cells of 16 to 32 px, with at most 100 detections per image and class.

    The size of a cell is the square root of its ``area`` in the annotation file, which is the number of pixels of its
    mask. COCO's rules hold: a cell of another size need not be found, and finding it is not a mistake; a detection of
    another size that finds no cell is not a mistake. For ``bbox_`` values the size of a detection is that of its box,
    as in pycocotools. A size bin includes both of its edges.

    Args:
        pairs: The true and the predicted cells; :func:`mmcell.evaluation.pairs.pair_coco` makes them from COCO
            annotations and results. Finding a cell with ``iscrowd`` is neither a hit nor a mistake.
        kinds: 'segm' for the values of masks, 'bbox' for the values of boxes.
        caps: How many detections count at most per image and class, best scores first; None counts every detection.
        size_bins_px: Ascending edges between the size bins, as square roots of areas in px. Without edges there are no
            values by size.

    Returns:
        Names with values from 0 to 1. A value is 0 without detections, and NaN if there is no cell to be found.

    Raises:
        AnnotationError, ResultsError: The cells cannot be measured, see :func:`match_classes`.
        ValueError: An argument is out of its range, or a class has the name of a size.
    """
    cap = _largest_cap(caps)
    values = {}
    for kind in kinds:
        matches = match_classes(pairs, kind, size_bins_px, cap)
        values |= average_precisions_of(matches, pairs.truth, kind, caps, size_bins_px)
    return values


def average_precisions_of(matches: Sequence[ClassMatches], truth: ImageSet, kind: str = 'segm',
                          caps: Sequence[int | None] = CAPS,
                          size_bins_px: Sequence[float] = SIZE_BINS_PX) -> dict[str, float]:
    """Returns the values of :func:`average_precisions` for cells that are matched already.

    Args:
        matches: The result of :func:`match_classes` for the same kind, with these size bins, and with the largest cap.
        truth: The classes.
        kind: 'segm' or 'bbox'.
        caps: As for :func:`average_precisions`.
        size_bins_px: As for :func:`average_precisions`.

    Raises:
        ValueError: A class has the name of a size.
    """
    ambiguous = set(truth.class_names) & set(size_names(size_bins_px))
    if ambiguous:
        raise ValueError(f'classes must not have the names of sizes, because their values would be overwritten: rename '
                         f'{sorted(ambiguous)}')
    values = {}
    for cap in caps:
        tables = _tables(matches, cap)
        for measure, (table, thresholds) in MEASURES.items():
            name = PREFIXES[kind] + measure + _cap_suffix(cap)
            for suffix, part in _parts(tables[table][:, :, thresholds], truth, size_bins_px):
                values[name + suffix] = mean_of_defined(part)
    return values


def precision_curves(matches: Sequence[ClassMatches], truth: ImageSet) -> dict[str, np.ndarray]:
    """Returns the curves of precision over recall whose mean is the average precision; every detection counts.

    Args:
        matches: The matches of masks or boxes, see :func:`match_classes`.
        truth: The classes.

    Returns:
        For each class name the interpolated precision (10 IoU thresholds, 101 recalls): the largest precision at each
        of ``RECALLS`` or beyond it, 0 where a recall is not reached, NaN if the class has no cell to be found. The mean
        of the first row is AP50 of the class.
    """
    places = np.argsort(truth.class_ids, kind='stable')
    return {truth.class_names[place]: _curves_of_all(class_matches, None)[0][0]
            for place, class_matches in zip(places, matches, strict=True)}


def resampled_average_precisions(matches: Sequence[ClassMatches], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns mask AP, AP50, AP@100 and AP50@100 of sets of images that are drawn with replacement.

    An image that is drawn twice counts twice, with its cells and its detections. If each image is drawn once, the
    values are those of :func:`average_precisions`. Classes without a true cell among the drawn images do not count.

    Among detections of equal score, the copies of one detection stand side by side, not one copy of the image after
    the other. If scores have two digits, this changes a value by about .0001; if all scores are equal, by some
    hundredths.

    Args:
        matches: The matches of masks, with or without size bins, without a cap; see :func:`match_classes`.
        weights: (n_resamples, n_images), how often each image is drawn.

    Returns:
        Names with values, (n_resamples,) float64 each, from 0 to 1 or NaN.
    """
    weights, values = np.asarray(weights, np.float64), {}
    for cap in CAPS:
        # (n_resamples, classes, thresholds, recalls)
        precision = np.stack([_resampled_precision(class_matches, cap, weights) for class_matches in matches], axis=1)
        for name, thresholds in (('AP', slice(None)), ('AP50', slice(0, 1))):
            values[name + _cap_suffix(cap)] = np.array([mean_of_defined(table[:, thresholds]) for table in precision])
    return values


def _resampled_precision(matches: ClassMatches, cap: int | None, weights: np.ndarray) -> np.ndarray:
    """Returns the precision (n_resamples, thresholds, recalls) of one class, for cells of every size."""
    # The resamples are worked through in pieces, so that the curves fit into memory.
    step = max(1, _MAX_CURVE_VALUES // max(1, len(matches.images)))
    return np.concatenate([_curves(matches, 0, cap, weights[start:start + step])[0]
                           for start in range(0, len(weights), step)])


def _cap_suffix(cap: int | None) -> str:
    return '' if cap is None else f'@{cap}'


def _largest_cap(caps: Sequence[int | None]) -> int | None:
    if not caps or any(cap is not None and cap < 1 for cap in caps):
        raise ValueError(f'caps must be a list of positive numbers or None, got {list(caps)}')
    return None if None in caps else max(caps)


def _tables(matches: Sequence[ClassMatches], cap: int | None) -> dict[str, np.ndarray]:
    """Returns precision (classes, sizes, thresholds, recalls) and recall (classes, sizes, thresholds)."""
    curves = [_curves_of_all(class_matches, cap) for class_matches in matches]
    return {name: np.array([class_curves[index] for class_curves in curves])
            for index, name in enumerate(('precision', 'recall'))}


def _curves_of_all(matches: ClassMatches, cap: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Does what ``COCOeval.accumulate`` of pycocotools does, for all sizes and thresholds of a class at once.

    Returns:
        The interpolated precision (sizes, thresholds, recalls): the largest precision at each recall or beyond, 0 where
        a recall is not reached. And the largest recall (sizes, thresholds). Both are NaN for sizes without a cell to
        be found.
    """
    # At one size and threshold let the second of four detections be no hit, and let there be 4 true cells. The hits are
    # at hit = [0, 2, 3], where n_counted = [1, 3, 4] and n_hits = [1, 2, 3]. The precisions [1, .67, .75], with zeros
    # behind them, have the largest values from there on [1, .75, .75, 0]. The recalls of one hit, two and so on are
    # [.25, .5, .75, 1]: the 26 recalls .00 … .25 find the first value, the 50 recalls .26 … .75 the second or third,
    # and the other 25 a zero. AP would be (26 * 1 + 50 * .75) / 101.
    is_counted = ~matches.is_ignored
    if cap is not None:
        is_counted &= matches.ranks < cap
    n_sizes, n_thresholds, n_detections = is_counted.shape
    n_counted = np.cumsum(is_counted.reshape(n_sizes * n_thresholds, n_detections), axis=1, dtype=np.int32)
    row, hit = np.nonzero((matches.is_hit & is_counted).reshape(n_counted.shape))
    n_hits_of_row = np.bincount(row, minlength=len(n_counted))
    n_hits = index_in_group(n_hits_of_row) + 1
    n_true = matches.n_true.sum(axis=1)
    table = np.zeros((len(n_counted), n_true.max() + 1))
    table[row, n_hits - 1] = n_hits / n_counted[row, hit]
    envelope = np.maximum.accumulate(table[:, ::-1], axis=1)[:, ::-1].reshape(n_sizes, n_thresholds, -1)
    precision = np.stack([of_size[:, np.searchsorted(np.arange(1, n + 1) / max(n, 1), RECALLS)]
                          for of_size, n in zip(envelope, n_true.tolist(), strict=True)])
    recall = n_hits_of_row.reshape(n_sizes, -1) / np.maximum(n_true, 1)[:, None]
    precision[n_true == 0] = recall[n_true == 0] = np.nan
    return precision, recall


def _curves(matches: ClassMatches, size: int, cap: int | None, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Does what ``COCOeval.accumulate`` of pycocotools does, with images that may count several times or not at all.

    Args:
        matches: The matches of one class in N images.
        size: The index of the size, 0 for cells of every size.
        cap: How many detections count at most per image; None counts all.
        weights: (n, N) float64, how often each image counts in each of n sets.

    Returns:
        The interpolated precision (n, thresholds, recalls), and the largest recall (n, thresholds). Both are NaN for
        sets without a cell to be found.
    """
    # Four detections, best score first, in the images [0, 1, 0, 1]; all but the second are hits, and each image has two
    # true cells. With the weights [[1, 1], [2, 0]] the detections count [[1, 1, 1, 1], [2, 0, 2, 0]] times, so that
    # n_counted is [[1, 2, 3, 4], [2, 2, 4, 4]]. At the hits n_hits is [[1, 2, 3], [2, 4, 4]] and n_counted is
    # [[1, 3, 4], [2, 4, 4]]. With n_true = [4, 4] the largest recalls are 3 / 4 and 4 / 4.
    is_counted = ~matches.is_ignored[size] & (matches.ranks < (np.inf if cap is None else cap))
    detection_weights, n_true = weights[:, matches.images], weights @ matches.n_true[size]
    precision = np.zeros((len(weights), len(IOU_THRESHOLDS), len(RECALLS)))
    recall = np.zeros(precision.shape[:2])
    for index, counted in enumerate(is_counted):
        # Without size bins and ``iscrowd`` the same detections count at every threshold: the sums are used again.
        if index == 0 or (counted != is_counted[index - 1]).any():
            weights_counted = detection_weights[:, counted]
            n_counted = np.cumsum(weights_counted, axis=1)
        # Between one hit and the next recall stays the same and precision falls: only the points at hits are needed.
        is_hit = matches.is_hit[size, index, counted]
        if is_hit.any():
            n_hits = np.cumsum(weights_counted[:, is_hit], axis=1)
            precision[:, index] = _interpolate(n_hits, n_counted[:, is_hit], n_true)
            recall[:, index] = n_hits[:, -1] / np.maximum(n_true, 1)
    precision[n_true == 0] = recall[n_true == 0] = np.nan
    return precision, recall


def _interpolate(n_hits: np.ndarray, n_counted: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    """Returns (n, 101), the largest precision at each of 101 recalls or beyond; 0 where a recall is not reached.

    ``n_hits`` and ``n_counted`` (n, hits) are the numbers of hits and of detections from the best one down to each hit.
    """
    # n_hits = [[1, 2, 3]], n_counted = [[1, 3, 4]] and n_true = [4] give the precisions [[1, .67, .75]] at the recalls
    # [[.25, .5, .75]]. The largest precision at a hit or a later one is [[1, .75, .75]], with a 0 appended for recalls
    # that are not reached. The 26 recalls .00 … .25 find the first entry, the 50 recalls .26 … .75 the second or the
    # third, and the other 25 the appended 0. AP would be (26 * 1 + 50 * .75) / 101.
    precision = n_hits / np.maximum(n_counted, 1)
    envelope = np.zeros((len(precision), precision.shape[1] + 1))
    envelope[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = n_hits / np.maximum(n_true, 1)[:, None]
    return np.stack([row_envelope[row_recall.searchsorted(RECALLS)]
                     for row_recall, row_envelope in zip(recall, envelope, strict=True)])


def _parts(table: np.ndarray, truth: ImageSet, size_bins_px: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each part of a table (classes, sizes, …) that gets its own value, with the ending of its name."""
    yield '', table[:, 0]
    for row, place in enumerate(np.argsort(truth.class_ids, kind='stable')):
        yield f'/{truth.class_names[place]}', table[row, 0]
    for index, name in enumerate(size_names(size_bins_px), start=1):
        yield f'/{name}', table[:, index]


def size_names(size_bins_px: Sequence[float]) -> list[str]:
    """Returns the names of the size bins: 0-16px, 16-32px and 32px+ for the edges 16 and 32; none without edges."""
    if not len(size_bins_px):
        return []
    edges = [0, *size_bins_px]
    return [f'{low}-{high}px' for low, high in pairwise(edges)] + [f'{edges[-1]}px+']


def mean_of_defined(table: np.ndarray) -> float:
    """Returns the mean of the values that are not NaN, or NaN if there are none."""
    defined = table[~np.isnan(table)]
    return float(defined.mean()) if defined.size else float('nan')
